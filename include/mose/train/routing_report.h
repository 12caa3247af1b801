// How a sparse model routes held-out samples: RUN/routing.json.
#pragma once

#include <vector>

#include "mose/core/json.h"
#include "mose/data/batch.h"
#include "mose/models/vlm.h"
#include "mose/moe/statistics.h"
#include "mose/skills/taxonomy.h"

namespace mose::train {

// Sums over batches, one a sparse layer.
using RoutingSums = std::vector<moe::RoutingStatistics>;
RoutingSums start_routing_sums(const models::VisionLanguageModel& model);
void add_routings(RoutingSums& sums, const std::vector<language::LayerRouting>& routings, const moe::RouterLabels& labels);

// {"layers": [one RoutingStatistics a sparse layer, with "layer" and "experts"], "stage_accuracy",
// "skill_accuracy", "assigned_share": means over the layers that have them, else null}
Json routing_to_json(const models::VisionLanguageModel& model, const RoutingSums& sums);
Json measure_routing(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches);

// What each expert is worth to each skill: {"rows": [S], "loss": [S], "without": [E][S]}, the mean loss of the words
// predicted from rows of a skill (soft labels count by their share; 0 where a skill has no such row), with all experts
// and without each of them in every sparse layer. "without" is null where top_k leaves no other expert.
Json measure_removal(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches);

// {"stages", "skills", "skill_stage", "assignment", "before": null, "after": null}
Json routing_header(const models::VisionLanguageModel& model, const skills::Taxonomy& taxonomy);

}  // namespace mose::train
