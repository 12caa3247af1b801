// What inference leaves out: gradients' bookkeeping, and new memory for every result.
#pragma once

#include <torch/types.h>

#include <vector>

namespace mose::nn {

// Whether a function of these records what its backward pass needs. Undefined tensors need nothing.
template <class... Tensors>
bool needs_gradient(const Tensors&... tensors) {
  return at::GradMode::is_enabled() && ((tensors.defined() && tensors.requires_grad()) || ...);
}

// Memory that a repeated computation, such as a step of decoding, uses again: while a guard lives, empty() of this thread gives a
// tensor of an earlier call that nobody holds any more, nor a view of it.
//
//   Buffers buffers;
//   while (...) { const BuffersGuard guard(buffers); step(); }
//
// Results that are kept stay what they are: their memory is not given again while they or a view of them live.
class Buffers {
 public:
  torch::Tensor take(at::IntArrayRef sizes, torch::Dtype type);

 private:
  std::vector<torch::Tensor> given_;
};

class BuffersGuard {
 public:
  explicit BuffersGuard(Buffers& buffers);
  ~BuffersGuard();
  BuffersGuard(const BuffersGuard&) = delete;
  BuffersGuard& operator=(const BuffersGuard&) = delete;

 private:
  Buffers* before_;
};

// at::empty, or one of the guard's buffers on a CPU where gradient is off.
torch::Tensor empty(at::IntArrayRef sizes, const torch::TensorOptions& options);

// int64 on the host, such memory as well.
torch::Tensor host_indices(const std::vector<int64_t>& values);

// x + y, where `y` is a result that nobody else holds: written into it where no gradient is needed.
torch::Tensor add_to(const torch::Tensor& x, torch::Tensor y);

}  // namespace mose::nn
