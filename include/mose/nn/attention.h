// Attention over a packed stream, and over a cache of keys and values.
#pragma once

#include <torch/types.h>

#include <vector>

#include "mose/nn/sequence_plan.h"

namespace mose::nn {

// Rotary embedding (Su et al., 2021; the half-split layout of Llama): pairs (i, i + d/2) turn by
// position * theta^(-2i/d).
struct RotaryTable {
  torch::Tensor cos_T1h, sin_T1h;  // h = d/2, float32
};
RotaryTable rotary_table(const torch::Tensor& positions_T, int64_t head_width, double theta);
torch::Tensor apply_rotary(const torch::Tensor& x_THd, const RotaryTable& table);

// Causal attention in which a row sees only earlier rows of its own sequence, scaled by 1/sqrt(d).
// q_THd has H heads, k and v have a divisor of H (grouped-query attention). Returns [T, H, d].
torch::Tensor packed_attention(const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                               const torch::Tensor& v_TKd, const SequencePlan& plan);

// Every row of a sequence sees every other, as in a vision tower. All [B, P, D], of D / heads a head.
torch::Tensor full_attention(const torch::Tensor& q_BPD, const torch::Tensor& k_BPD, const torch::Tensor& v_BPD,
                             int64_t heads);

// Keys and values of N sequences, one pair of tensors [N, heads, capacity, d] a layer.
class KvCache {
 public:
  KvCache(int64_t layers, int64_t sequences, int64_t heads, int64_t capacity, int64_t head_width,
          torch::TensorOptions options);

  const std::vector<int64_t>& lengths() const { return lengths_; }
  int64_t capacity() const { return capacity_; }
  // Keeps only these sequences, in this order (those that finished are left out).
  void select(const std::vector<int64_t>& sequences);
  // Called once after all layers have run on `plan`.
  void advance(const SequencePlan& plan);

  // Appends the rows of layer `layer` and attends to everything stored, row by row causal. Sequence
  // n of the plan continues sequence n of the cache. Error when the capacity is exceeded.
  torch::Tensor attend(int64_t layer, const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                       const torch::Tensor& v_TKd, const SequencePlan& plan);

 private:
  int64_t capacity_;
  std::vector<int64_t> lengths_;
  std::vector<torch::Tensor> keys_, values_;
  torch::Tensor mask_;      // of the current decoding step, shared by its layers
};

}  // namespace mose::nn
