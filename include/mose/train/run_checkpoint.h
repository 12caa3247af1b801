// Checkpoints of a run: RUN/checkpoints/step_NNNNNNNN/ with model/, optimizer.safetensors, state.json, and adapter/ in
// the middle of a stage with adapters, whose model/ is the one they stand beside.
//
// A checkpoint is written under a temporary name, gets its DONE marker last, and is renamed. A
// reader only ever sees whole checkpoints; what a killed run left half-written is removed.
#pragma once

#include <filesystem>
#include <map>
#include <optional>
#include <string>

#include "mose/core/json.h"
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

  Json to_json() const;
  static RunState from_json(const Json& json, const std::string& where);
};

void save_checkpoint(const std::filesystem::path& run, const models::Bundle& bundle,
                     const std::map<std::string, torch::Tensor>& optimizer, const RunState& state,
                     int64_t keep, const nn::Adapters& adapters = {}, const nn::LoraConfig& lora = {});

struct Checkpoint {
  std::filesystem::path dir;
  RunState state;
};

// The newest whole checkpoint of a run, or none. A damaged one is named in a warning and the one
// before it is taken. Removes what a killed run left half-written.
std::optional<Checkpoint> find_checkpoint(const std::filesystem::path& run);

}  // namespace mose::train
