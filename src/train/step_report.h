// What a step says of itself: a line of metrics.jsonl, and a note beside the progress bar.
#pragma once

#include <string>

#include "mose/core/json.h"
#include "mose/train/losses.h"

namespace mose::train {

// Adds the losses that have a weight to a line; segment losses are means over their tokens.
void describe(Json& line, const LossReport& report, const StepWeights& weights);
// Accuracies of the routers, the share of choices each expert got by layer, how uneven that is, and what was dropped.
void describe_routing(Json& line, const Json& routing);
std::string progress_note(const Json& line);

}  // namespace mose::train
