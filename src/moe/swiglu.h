// Stacked SwiGLU experts over rows sorted by expert, with a hand-written backward pass: gradients of
// the stacked weights are written expert by expert into one tensor, where autograd through slices
// would fill and add a whole stack for each expert.
#pragma once

#include <torch/types.h>

#include <vector>

namespace mose::moe {

// How the products of the groups are computed. kLoop: one matrix product an expert, empty experts
// skipped. kGrouped: at::_grouped_mm, one kernel for all experts where the device has one.
enum class GroupedProduct { kLoop, kGrouped };

// The faster one by measurement: kLoop but for bfloat16 on CUDA with 16-byte aligned rows. `type` is what the products are
// computed in.
GroupedProduct choose_product(const torch::Tensor& rows_RD, torch::Dtype type, int64_t intermediate);

// out[r] = down_e (silu(gate_e x_r) * up_e x_r) for the rows r of expert e. One floating type
// throughout. gate_up [E, 2F, D], down [E, D, F]; sum of counts = R.
torch::Tensor stacked_swiglu(const torch::Tensor& rows_RD, const torch::Tensor& gate_up,
                             const torch::Tensor& down, const std::vector<int64_t>& counts_E,
                             GroupedProduct product);
// The same by kGrouped, from where the rows of each expert end (int32, on the device).
torch::Tensor grouped_swiglu(const torch::Tensor& rows_RD, const torch::Tensor& gate_up, const torch::Tensor& down,
                             const torch::Tensor& ends_E);

// y[t] = sum_k weights[t, k] expert_e(x[t]) with e = experts[t, k], without gradient and without moving rows: for the few tokens of
// decoding on a GPU. Undefined where gradient is asked for, or there are too many tokens, or types or device have no kernel.
torch::Tensor few_rows_swiglu(const torch::Tensor& x_TD, const torch::Tensor& gate_up, const torch::Tensor& down,
                              const torch::Tensor& experts_TK, const torch::Tensor& weights_TK);

// The same without gradient, gate_up and down packed (mose/nn/int8.h).
torch::Tensor stacked_swiglu_int8(const torch::Tensor& rows_RD, const torch::Tensor& gate_up, const torch::Tensor& down,
                                  const std::vector<int64_t>& counts_E);

}  // namespace mose::moe
