// How new parameters come to be. Every layer makes its own through these functions, so that a model can
// also be built without drawing weights: to be filled from a file, or to be counted only.
#pragma once

#include <torch/types.h>

namespace mose::nn {

enum class Init {
  kDraw,   // random values, from PyTorch's generator
  kEmpty,  // memory with any content: for weights that a file fills at once
  kMeta,   // shapes and types on the meta device: a model of any size takes no memory
};

// Parameters made by this thread while a guard lives come in its way; drawn when there is none.
class InitGuard {
 public:
  explicit InitGuard(Init way);
  ~InitGuard();
  InitGuard(const InitGuard&) = delete;
  InitGuard& operator=(const InitGuard&) = delete;

 private:
  Init before_;
};

// float32 of the given shape.
torch::Tensor normal(at::IntArrayRef shape, double deviation);
torch::Tensor uniform(at::IntArrayRef shape, double bound);  // from -bound to bound
torch::Tensor constant(at::IntArrayRef shape, double value);
// `value` itself; on the meta device only its shape.
torch::Tensor given(const torch::Tensor& value);

}  // namespace mose::nn
