// Rotary embedding (Su et al., 2021; the half-split layout of Llama): pairs (i, i + h) of a head turn by
// position * f_i, f_i = theta^(-i/h), with h pairs.
#pragma once

#include <torch/types.h>

#include <optional>
#include <string>

#include "mose/core/config.h"

namespace mose::nn {

// How a model was stretched to contexts longer than it was trained on.
//   linear  f / factor (Chen et al., 2023)
//   llama3  slow turns (longer than original_positions / low_freq_factor) are divided by factor, fast ones
//           (shorter than original_positions / high_freq_factor) kept, those between interpolated
struct RopeScaling {
  std::string type = "linear";
  double factor = 1;
  double low_freq_factor = 1, high_freq_factor = 4;  // llama3
  int64_t original_positions = 8192;                 // llama3

  void visit(FieldVisitor& v);
};

// float32 [width / 2], `width` the turning part of a head. UsageError on an unknown type.
torch::Tensor rotary_frequencies(int64_t width, double theta, const std::optional<RopeScaling>& scaling = {});

struct RotaryTable {
  torch::Tensor cos_T1h, sin_T1h;  // float32
};
RotaryTable rotary_table(const torch::Tensor& positions_T, const torch::Tensor& frequencies_h);

// The first 2h of a head's d numbers turn, the others stay (partial rotary: GPT-NeoX, StableLM, Phi).
torch::Tensor apply_rotary(const torch::Tensor& x_THd, const RotaryTable& table);

}  // namespace mose::nn
