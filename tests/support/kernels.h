// What the tests of kernels that the CPU runs share.
#pragma once

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <vector>

#include "support/cuda_on_cpu.h"

namespace mose::tests {

template <class T>
T* data(const torch::Tensor& t) {
  return static_cast<T*>(t.mutable_data_ptr());
}

// NaN everywhere, which is unequal to itself: what a kernel leaves out shows.
inline torch::Tensor unwritten(torch::IntArrayRef sizes, torch::Dtype type = torch::kFloat32) {
  return torch::full(sizes, std::numeric_limits<double>::quiet_NaN(), type);
}

// The largest difference, relative to the largest value where that is above 1.
inline double difference(const torch::Tensor& a, const torch::Tensor& b) {
  const torch::Tensor exact = b.detach().to(torch::kFloat64);
  return (a.to(torch::kFloat64) - exact).abs().max().item<double>() / std::max(1.0, exact.abs().max().item<double>());
}

// body(T(), type, tolerance) for float32 and bfloat16.
template <class Body>
void for_types(const Body& body) {
  body(float(), torch::kFloat32, 2e-6);
  body(uint16_t(), torch::kBFloat16, 1e-2);
}

// What `run` gives, which must be the same in whatever order threads and blocks take turns.
template <class Run>
std::vector<torch::Tensor> in_any_order(const Run& run) {
  cuda_on_cpu::reversed = false;
  const auto out = run();
  cuda_on_cpu::reversed = true;
  const auto again = run();
  cuda_on_cpu::reversed = false;
  for (size_t i = 0; i < out.size(); ++i)
    EXPECT_TRUE(torch::equal(out[i], again[i])) << "result " << i << " depends on the order of threads";
  return out;
}

}  // namespace mose::tests
