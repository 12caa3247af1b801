// Runs a recipe: stage after stage, resumable at any step, to RUN/model/.
#pragma once

#include <filesystem>

#include "mose/dist/communicator.h"
#include "mose/train/recipe.h"

namespace mose::train {

struct TrainOptions {
  std::filesystem::path run;
  bool resume = false;  // continue from RUN's newest whole checkpoint, when there is one
  std::shared_ptr<dist::Communicator> world;  // the processes that run the recipe together; none = this one alone
  int64_t local_rank = 0;                     // among the processes of this host: its GPU
  bool dry = false;                           // keep no model, adapter or checkpoint
};

// UsageError when a stage's global batch cannot be divided over so many processes: its parts (accumulate) are what they
// take, so their number is part of the mathematics and of the recipe. To be asked before the processes meet, so that
// each says the same and none is told of another's end instead.
void check_processes(const Recipe& recipe, int64_t processes);

// Writes RUN/config.json, log.txt, metrics.jsonl, TensorBoard events, checkpoints/, routing.json (sparse models),
// samples.jsonl (recipe.samples), adapters/STAGE of stages with lora, summary.json and model/. A signal ends it with a
// checkpoint (Interrupted); a loss that is not finite with a checkpoint of the last good step (DivergenceError).
// UsageError when RUN holds another run and `resume` is not set.
void train(const Recipe& recipe, const TrainOptions& options);

// Builds everything, runs three steps of every stage in a folder beside RUN that is removed afterwards, and says what
// the whole run will take: {"processes", "peak_memory_mib" (of the largest process), "stages": [{"name", "steps", "loss"
// (of the last step run), "seconds_per_step", "share_of_peak" but of a cached router stage, which has "seconds_to_cache",
// "seconds"}], "seconds"}. Not counted: reading the data and writing checkpoints. Rank 0 has the report, the others a part of it.
Json dry_run(Recipe recipe, TrainOptions options);

}  // namespace mose::train
