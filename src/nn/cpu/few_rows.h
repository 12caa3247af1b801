// Few rows against much memory, without gradient: what decoding does most of the time. On CPU tensors of float32 or bfloat16.
#pragma once

#include <torch/types.h>

#include <vector>

namespace mose::nn::cpu {

// More are multiplied faster by a library, with packed weights after unpacking these.
inline constexpr int64_t kFewRows = 8;
int64_t few_packed_rows(torch::Dtype type);

// x [R, D] W^T into out [R, O], all contiguous. W [O, D] is of x's type, or packed (mose/nn/int8.h); out is of x's type, or float32
// of unpacked weights.
void multiply(const torch::Tensor& x_RD, const torch::Tensor& weight_OD, const torch::Tensor& out_RO);

// One new row of each of N sequences: k and v [N, heads of keys, d] are stored after the lengths[places[n]] positions of place
// places[n] in keys and values [places, heads of keys, capacity, d], and q [N, heads, d] attends to all of them, or to the last
// `window` where it is not 0. All contiguous and of one type. Returns [N, heads, d].
torch::Tensor attend(const torch::Tensor& q_NHd, const torch::Tensor& k_NKd, const torch::Tensor& v_NKd, const torch::Tensor& keys,
                     const torch::Tensor& values, const std::vector<int64_t>& places, const std::vector<int64_t>& lengths, int64_t window);

}  // namespace mose::nn::cpu
