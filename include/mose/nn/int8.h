// Weights in 8 bits for inference on a CPU, where decoding takes as long as reading the weights does. Each row o of a matrix W
// [.., O, D] is stored as q[o, d] = round(W[o, d] / s[o]) with s[o] = max_d |W[o, d]| / 127, so |W - s q| <= s / 2.
//
// A packed tensor is int8 [.., O, D + 4]: a row's numbers, then its scale's float32. Activations keep their type and sums are
// float32: only the weights are rounded. Where the CPU multiplies bytes (AVX512-VNNI), rows are taken as whole numbers of 24
// bits, which leaves float32's precision to the largest of a row, and sums are exact; a row with an infinity gives NaN then.
#pragma once

#include <torch/types.h>

namespace mose::nn {

torch::Tensor pack_int8(const torch::Tensor& weight);
// W's values, rounded as above.
torch::Tensor unpack_int8(const torch::Tensor& packed, torch::Dtype type = torch::kFloat32);

inline bool is_packed(const torch::Tensor& weight) { return weight.scalar_type() == torch::kChar; }
// D of a weight that may be packed.
inline int64_t columns(const torch::Tensor& weight) { return weight.size(-1) - (is_packed(weight) ? 4 : 0); }

// Rows [R, D] W^T into out [R, O], float32 or bfloat16. Few rows read the packed weights once; for many, where a library is faster,
// these are unpacked some at a time. Error where gradient is asked for or a tensor is not on the CPU.
void multiply_int8(const torch::Tensor& x_RD, const torch::Tensor& packed_OD, const torch::Tensor& out_RO);

}  // namespace mose::nn
