// Chains of operations in one pass over memory, with hand-written backward passes. For float32 and
// bfloat16 they are the kernels of src/nn/cpu on a CPU and those of src/nn/cuda on a GPU; for other types the plain LibTorch
// operations that the tests hold them against.
#pragma once

#include <torch/types.h>

namespace mose::nn {

// y = x / sqrt(mean(x^2) + eps) * weight over the last dimension.
torch::Tensor rms_norm(const torch::Tensor& x, const torch::Tensor& weight, double eps);

// silu(gate) * up, both of one shape.
torch::Tensor silu_mul(const torch::Tensor& gate, const torch::Tensor& up);

// The same of gate‖up [R, 2F] -> [R, F], without gradient: for functions that have their own backward pass.
torch::Tensor silu_mul_halves(const torch::Tensor& gate_up_RF2);
// Writes the gradient of gate‖up into `grad_RF2` from that of hidden [R, F]; returns hidden again.
torch::Tensor silu_mul_halves_backward(const torch::Tensor& grad_RF, const torch::Tensor& gate_up_RF2, const torch::Tensor& grad_RF2);

// x W^T + b; W may be packed (int8.h). Decoding has few rows: they are multiplied by reading W once at the memory's speed. Others go to whichever
// library multiplies faster on this CPU.
torch::Tensor linear(const torch::Tensor& x, const torch::Tensor& weight, const torch::Tensor& bias = {});
// Rows [R, D] W^T into out [R, O] by that way; false, and nothing written, where there are too many rows, or gradient is
// asked for, or the types or devices have no kernel.
bool multiply_few_rows(const torch::Tensor& x_RD, const torch::Tensor& weight_OD, const torch::Tensor& out_RO);

// Cross-entropy of a linear head: losses_R = logsumexp(logits) - logits[target], logits = hidden W^T + b, and `total`, the
// sum of weights_R (float32, without gradient) times losses_R. Logits exist for 384 rows at a time (on a GPU 2048); the
// gradients of hidden, weight and bias are formed with them and handed over by the first backward pass (Error in a second one).
// `losses_R` is float32 and carries no gradient. Error where a target
// is not in [0, V); a GPU, which the host does not wait for, prints it and ends its work: the next wait throws.
struct VocabularyLoss {
  torch::Tensor total, losses_R;
};
VocabularyLoss vocabulary_loss(const torch::Tensor& hidden_RD, const torch::Tensor& weight_VD, const torch::Tensor& bias_V,
                               const torch::Tensor& targets_R, const torch::Tensor& weights_R);

}  // namespace mose::nn
