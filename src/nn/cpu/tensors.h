// The kernels of kernels.h on tensors.
#pragma once

#include <ATen/Parallel.h>
#include <torch/types.h>

#include <algorithm>

#include "nn/cpu/kernels.h"

namespace mose::nn::cpu {

// Whether there are kernels for tensors like this one.
inline bool has_kernels(const torch::Tensor& t) {
  return t.is_cpu() && (t.scalar_type() == torch::kFloat32 || t.scalar_type() == torch::kBFloat16);
}

// body(kernels, T()) with the kernels of the tensor's type.
template <class Body>
void with_kernels(const torch::Tensor& like, const Body& body) {
  if (like.scalar_type() == torch::kFloat32) body(kernels<float>(), float());
  else body(kernels<uint16_t>(), uint16_t());
}

template <class T>
const T* in(const torch::Tensor& t) {
  return static_cast<const T*>(t.const_data_ptr());
}
template <class T>
T* out(const torch::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// body(begin, end) on every thread's part of the rows; a part has at least about 16 thousand elements.
template <class Body>
void for_rows(int64_t rows, int64_t row_elements, const Body& body) {
  at::parallel_for(0, rows, std::max<int64_t>(1, 16384 / std::max<int64_t>(1, row_elements)), body);
}

}  // namespace mose::nn::cpu
