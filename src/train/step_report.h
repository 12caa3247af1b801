// What a step says of itself: a line of metrics.jsonl, and a note beside the progress bar.
#pragma once

#include <string>

#include "mose/core/json.h"
#include "mose/train/losses.h"

namespace mose::train {

// Adds the losses that have a weight to a line; segment losses are means over their tokens.
void describe(Json& line, const LossReport& report, const StepWeights& weights);
std::string progress_note(const Json& line);

}  // namespace mose::train
