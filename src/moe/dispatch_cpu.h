// The CPU's kernels of dispatch. Each has a plain LibTorch form in dispatch.cpp that serves other
// devices; the tests hold one against the other.
#pragma once

#include <torch/types.h>

#include "mose/moe/dispatch.h"
#include "mose/moe/routing.h"

namespace mose::moe::cpu {

Dispatch plan_dispatch(const torch::Tensor& experts_TK, int64_t experts);
torch::Tensor top_k_indices(const torch::Tensor& values_TE, int64_t k);
// experts_TK and weights_TK of probabilities_TE (float32, contiguous), without gradient.
void route(Routing& routing, int64_t k, bool normalise);

// rows[r] = x[token[r]], without gradient.
torch::Tensor gather(const torch::Tensor& x_TD, const torch::Tensor& token_R);

// sum_k rows[row[t, k]], the gradient of gather_rows.
torch::Tensor sum_choices(const torch::Tensor& rows_RD, const torch::Tensor& row_TK);
torch::Tensor combine(const torch::Tensor& rows_RD, const torch::Tensor& weights_TK, const torch::Tensor& row_TK);

struct CombineGradients {
  torch::Tensor rows_RD, weights_TK;
};
CombineGradients combine_backward(const torch::Tensor& grad_TD, const torch::Tensor& rows_RD,
                                  const torch::Tensor& weights_TK, const torch::Tensor& row_TK);

}  // namespace mose::moe::cpu
