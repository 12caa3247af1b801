// Checkpoints of a run: RUN/checkpoints/step_NNNNNNNN/ with model/, optimizer.safetensors, state.json, and adapter/ in
// the middle of a stage with adapters, whose model/ is the one they stand beside.
//
// A checkpoint is written under a temporary name, gets its DONE marker last (the files and their sizes), and is renamed. A
// reader only ever sees whole checkpoints; what a killed run left half-written is removed. Of several processes the first
// writes the model, and each its share of the optimizer's state: optimizer.safetensors, optimizer.rank1.safetensors, ...
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "mose/core/json.h"
#include "mose/dist/communicator.h"
#include "mose/models/bundle.h"
#include "mose/nn/lora.h"

namespace mose::train {

// Where a run stands.
struct RunState {
  int64_t stage = 0;       // index into the recipe's stages
  int64_t stage_step = 0;  // finished steps of that stage
  int64_t step = 0;        // finished steps of the whole run
  double seconds = 0;      // spent training, over all attempts
  Json loader;             // the loader's position; null at the beginning of a stage
  Json best;               // {"stage", "step", "value"} of RUN/best, or null

  Json to_json() const;
  static RunState from_json(const Json& json, const std::string& where);
};

// The newest `newest` checkpoints stay, and those at multiples of `milestones` steps (0 = none).
struct Keep {
  int64_t newest = 2, milestones = 0;
};
// Weights (by the names of models::weights_for_file) and adapters are whole, and rank 0's to write; the optimizer's state
// is this process's share.
struct CheckpointContents {
  io::TensorMap weights;
  nn::Adapters adapters;
  nn::LoraConfig lora;
  std::map<std::string, torch::Tensor> optimizer;
  RunState state;
};
// Called by all processes; returns when the checkpoint is whole. Of `bundle` everything but the weights is written.
void save_checkpoint(const std::filesystem::path& run, dist::Communicator& world, const models::Bundle& bundle,
                     const CheckpointContents& contents, const Keep& keep);

// RUN/best/model, and adapter/ beside it where there are adapters; an earlier one is replaced. Optimizer and state are not
// written.
void save_best(const std::filesystem::path& run, const models::Bundle& bundle, const CheckpointContents& contents);

struct Checkpoint {
  std::filesystem::path dir;
  RunState state;
};

// The newest whole checkpoint of a run, or none. A damaged one is named in a warning and the one
// before it is taken. Removes what a killed run left half-written.
std::optional<Checkpoint> find_checkpoint(const std::filesystem::path& run);
// The optimizer's state: the shares of all processes together.
std::map<std::string, torch::Tensor> load_optimizer(const Checkpoint& checkpoint);

}  // namespace mose::train
