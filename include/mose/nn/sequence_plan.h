// Packed is the native form: all sequences of a batch are one stream of rows, x_TD. Only attention
// sees the boundaries.
#pragma once

#include <torch/types.h>

#include <vector>

namespace mose::nn {

// Shape suffixes: T rows (tokens of all sequences), D width, H heads, d head width, V vocabulary,
// E experts, K experts a token uses, G stages, S skills, B images or sequences, P patches.
struct SequencePlan {
  std::vector<int64_t> offsets;  // N + 1 row offsets: sequence n has rows [offsets[n], offsets[n+1])
  torch::Tensor positions_T;     // int64 position of each row in its sequence
  int64_t longest = 0;           // rows of the longest sequence

  int64_t sequences() const { return static_cast<int64_t>(offsets.size()) - 1; }
  int64_t tokens() const { return offsets.back(); }
};

// Positions start at 0 in each sequence, or at starts[n] when given (decoding with a cache).
SequencePlan make_plan(const std::vector<int64_t>& lengths, torch::Device device = torch::kCPU,
                       const std::vector<int64_t>& starts = {});

}  // namespace mose::nn
