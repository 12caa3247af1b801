// Verdicts replayed from a file: another run's items.jsonl, or one written by hand.
#pragma once

#include <filesystem>
#include <memory>
#include <vector>

#include "mose/eval/judge.h"

namespace mose::eval {

// One judge "recorded:<name>" for each name under "judge" in the file, in the order in which they
// come first. A row has task, id, region, judge, and repeat when it is not 0; its score (0 to 100),
// or a reply whose rating from 1 to 10 is read; a reason when it has neither; and the prediction
// that was judged, so that a verdict on another answer is not taken for one on this. Rows of items
// that were missing count for nothing. DataError names file and line.
std::vector<std::unique_ptr<Judge>> load_recording(const std::filesystem::path& file);

}  // namespace mose::eval
