#include "mose/nn/layers.h"

#include "mose/core/error.h"
#include "mose/nn/init.h"

namespace mose::nn {

Linear::Linear(int64_t in, int64_t out, bool with_bias, double init_scale) {
  weight = register_parameter("weight", normal({out, in}, init_scale * matrix_init_std(in)));
  if (with_bias) bias = register_parameter("bias", constant({out}, 0));
}

void standardise(torch::Tensor& weight, torch::Tensor& bias, const torch::Tensor& y, int64_t channels) {
  const torch::NoGradGuard no_grad;
  const auto y_CN = y.transpose(0, channels).flatten(1);
  const auto mean_C = y_CN.mean(1), deviation_C = y_CN.std(1) + 1e-3;
  std::vector<int64_t> rows(static_cast<size_t>(weight.dim()), 1);
  rows[0] = -1;
  weight.div_(deviation_C.view(rows));
  bias.sub_(mean_C).div_(deviation_C);
}

RmsNorm::RmsNorm(int64_t width, double eps) : eps_(eps) {
  weight = register_parameter("weight", constant({width}, 1));
}

torch::Tensor RmsNorm::forward(const torch::Tensor& x) const {
  return rms_norm(x, weight, eps_);
}

LayerNorm::LayerNorm(int64_t width, double eps) : eps_(eps) {
  weight = register_parameter("weight", constant({width}, 1));
  bias = register_parameter("bias", constant({width}, 0));
}

torch::Tensor LayerNorm::forward(const torch::Tensor& x) const {
  return at::layer_norm(x, {x.size(-1)}, weight, bias, eps_);
}

SwiGlu::SwiGlu(int64_t width, int64_t intermediate, bool bias) {
  gate_proj = register_module("gate_proj", std::make_shared<Linear>(width, intermediate, bias));
  up_proj = register_module("up_proj", std::make_shared<Linear>(width, intermediate, bias));
  down_proj = register_module("down_proj", std::make_shared<Linear>(intermediate, width, bias));
}

torch::Tensor SwiGlu::forward(const torch::Tensor& x) const {
  return down_proj->forward(silu_mul(gate_proj->forward(x), up_proj->forward(x)));
}

torch::Tensor activate(const torch::Tensor& x, Activation activation) {
  if (activation == Activation::kQuickGelu) return x * at::sigmoid(1.702 * x);
  return at::gelu(x, activation == Activation::kGeluTanh ? "tanh" : "none");
}

Activation activation_named(const std::string& name) {
  if (name == "gelu") return Activation::kGelu;
  if (name == "gelu_tanh") return Activation::kGeluTanh;
  if (name == "quick_gelu") return Activation::kQuickGelu;
  throw UsageError("activation \"" + name + "\": expected gelu, gelu_tanh or quick_gelu");
}

GeluMlp::GeluMlp(int64_t width, int64_t intermediate, Activation activation) : activation_(activation) {
  fc1 = register_module("fc1", std::make_shared<Linear>(width, intermediate, true));
  fc2 = register_module("fc2", std::make_shared<Linear>(intermediate, width, true));
}

torch::Tensor GeluMlp::forward(const torch::Tensor& x) const {
  return fc2->forward(activate(fc1->forward(x), activation_));
}

int64_t count_parameters(const torch::nn::Module& module) {
  int64_t count = 0;
  for (const auto& p : module.parameters()) count += p.numel();
  return count;
}

}  // namespace mose::nn
