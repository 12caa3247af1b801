// Attention over a packed stream, and over a cache of keys and values.
#pragma once

#include <torch/types.h>

#include <map>
#include <vector>

#include "mose/nn/sequence_plan.h"

namespace mose::nn {

// Causal attention in which a row sees only earlier rows of its own sequence, scaled by 1/sqrt(d).
// q_THd has H heads, k and v have a divisor of H (grouped-query attention). With a window > 0 a row sees
// the last `window` rows only, itself included. Returns [T, H, d].
torch::Tensor packed_attention(const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                               const torch::Tensor& v_TKd, const SequencePlan& plan, int64_t window = 0);

// Every row of a sequence sees every other, as in a vision tower. All [B, P, D], of D / heads a head.
torch::Tensor full_attention(const torch::Tensor& q_BPD, const torch::Tensor& k_BPD, const torch::Tensor& v_BPD,
                             int64_t heads);

// Keys and values of sequences, each in a place of its own: one pair of tensors [places, heads, capacity, d] a layer.
class KvCache {
 public:
  KvCache(int64_t layers, int64_t places, int64_t heads, int64_t capacity, int64_t head_width,
          torch::TensorOptions options);

  const std::vector<int64_t>& lengths() const { return lengths_; }  // positions stored, by place
  int64_t capacity() const { return capacity_; }
  // Room for that many positions a place; what is stored stays.
  void reserve(int64_t capacity);
  // A sequence begins in `place` with the first `positions` of what place `from` holds (0: with nothing).
  void begin(int64_t place, int64_t from, int64_t positions);
  // The places of the following plans' sequences, in this order; at first all of them. On a CPU reading is fastest where these are
  // the places from 0 on.
  void run(const std::vector<int64_t>& places);
  // Steps of single rows look at so many positions even where fewer are stored, for a step that is recorded and then replayed when more
  // are (infer/step_graph.h). 0: at those that are stored.
  void look_at_least(int64_t positions) { looked_ = positions; }
  // Called once after all layers have run on `plan`.
  void advance(const SequencePlan& plan);

  // Appends the rows of layer `layer` and attends to everything stored, row by row causal. Sequence
  // n of the plan continues what the n-th place of run() holds, and the plan's positions say so. Error when the capacity is
  // exceeded. Where all sequences have one row nothing waits for a GPU.
  torch::Tensor attend(int64_t layer, const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                       const torch::Tensor& v_TKd, const SequencePlan& plan, int64_t window = 0);

 private:
  torch::Tensor attend_single_rows(torch::Tensor& keys, torch::Tensor& values, const torch::Tensor& q_THd, const torch::Tensor& k_TKd,
                                   const torch::Tensor& v_TKd, const torch::Tensor& ends_N, int64_t longest, int64_t window);

  int64_t capacity_, looked_ = 0;
  std::vector<int64_t> lengths_, places_;
  bool in_order_ = true;     // places_ are 0, 1, ...
  torch::Tensor places_P_;   // places_ on the device, at its begin; always the same memory
  std::vector<torch::Tensor> keys_, values_;
  std::map<int64_t, torch::Tensor> masks_;  // of the current decoding step by window, shared by its layers
};

}  // namespace mose::nn
