// How a sparse model routes held-out samples: RUN/routing.json.
#pragma once

#include <vector>

#include "mose/core/json.h"
#include "mose/data/batch.h"
#include "mose/models/vlm.h"
#include "mose/skills/taxonomy.h"

namespace mose::train {

// {"layers": [one RoutingStatistics a sparse layer, with "layer" and "experts"], "stage_accuracy",
// "skill_accuracy", "assigned_share": means over the layers that have them, else null}
Json measure_routing(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches);

// {"stages", "skills", "skill_stage", "assignment", "before": null, "after": null}
Json routing_header(const models::VisionLanguageModel& model, const skills::Taxonomy& taxonomy);

}  // namespace mose::train
