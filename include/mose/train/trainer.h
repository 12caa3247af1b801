// Runs a recipe: stage after stage, resumable at any step, to RUN/model/.
#pragma once

#include <filesystem>

#include "mose/train/recipe.h"

namespace mose::train {

struct TrainOptions {
  std::filesystem::path run;
  bool resume = false;  // continue from RUN's newest whole checkpoint, when there is one
};

// Writes RUN/config.json, log.txt, metrics.jsonl, TensorBoard events, checkpoints/, routing.json (sparse
// models), adapters/STAGE of stages with lora, summary.json and model/. A signal ends it with a checkpoint (Interrupted); a loss that is
// not finite with a checkpoint of the last good step (DivergenceError). UsageError when RUN holds
// another run and `resume` is not set.
void train(const Recipe& recipe, const TrainOptions& options);

}  // namespace mose::train
