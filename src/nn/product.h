// Matrix products of the CPU.
#pragma once

#include <torch/types.h>

#include <optional>

namespace mose::nn {

// x W^T (+ b), without gradient. float32 on an AMD CPU goes to oneDNN, whose kernels were 8 to 10 % faster there than those
// of MKL, which LibTorch calls (Zen 4, products of 1280 x 512 x 512 to 320 x 512 x 32000, CPU time of one thread); with
// the gradient of W they were even. Everything else goes to at::linear. W may be a transposed view.
torch::Tensor product(const torch::Tensor& x_RD, const torch::Tensor& weight_OD, const std::optional<torch::Tensor>& bias = {});
bool takes_onednn(const torch::Tensor& x, const torch::Tensor& weight);  // whether these do

}  // namespace mose::nn
