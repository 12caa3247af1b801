// The small layers everything is made of. Parameters carry the names transformers gives them.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <memory>
#include <string>

#include "mose/nn/fused.h"
#include "mose/nn/lora.h"

namespace mose::nn {

// Embeddings are drawn from a normal distribution with this deviation (GPT-2, Llama).
inline constexpr double kInitStd = 0.02;
// Matrices with `in` columns are drawn with this one: 0.02 at width 1024, and more in narrow models, whose
// attention would else start too flat to learn from.
inline double matrix_init_std(int64_t in) { return 0.64 / std::sqrt(static_cast<double>(in)); }

// y = x W^T + b, and the adapter's part where one is attached. weight [out, in], bias [out] of zeros; `init_scale`
// multiplies the weights drawn.
class Linear : public torch::nn::Module, public TakesLora {
 public:
  Linear(int64_t in, int64_t out, bool bias, double init_scale = 1);
  torch::Tensor forward(const torch::Tensor& x) const {
    const auto y = nn::linear(x, weight, bias);
    return lora ? lora->add(y, x) : y;
  }
  std::vector<LoraPlace> lora_places() override { return {{"", weight, &lora}}; }
  torch::Tensor weight, bias;
  std::shared_ptr<Lora> lora;
};

class Norm : public torch::nn::Module {
 public:
  virtual torch::Tensor forward(const torch::Tensor& x) const = 0;
};

// y = x / sqrt(mean(x^2) + eps) * weight, over the last dimension (Zhang and Sennrich, 2019).
class RmsNorm : public Norm {
 public:
  RmsNorm(int64_t width, double eps);
  torch::Tensor forward(const torch::Tensor& x) const override;
  torch::Tensor weight;

 private:
  double eps_;
};

class LayerNorm : public Norm {
 public:
  LayerNorm(int64_t width, double eps);
  torch::Tensor forward(const torch::Tensor& x) const override;
  torch::Tensor weight, bias;

 private:
  double eps_;
};

// down_proj(silu(gate_proj(x)) * up_proj(x)) (Shazeer, 2020).
class SwiGlu : public torch::nn::Module {
 public:
  SwiGlu(int64_t width, int64_t intermediate, bool bias = false);
  torch::Tensor forward(const torch::Tensor& x) const;
  std::shared_ptr<Linear> gate_proj, up_proj, down_proj;
};

// gelu: x Phi(x); gelu_tanh: its tanh approximation; quick_gelu: x sigmoid(1.702 x).
enum class Activation { kGelu, kGeluTanh, kQuickGelu };
torch::Tensor activate(const torch::Tensor& x, Activation activation);
// "gelu", "gelu_tanh" or "quick_gelu"; UsageError else.
Activation activation_named(const std::string& name);

// fc2(activation(fc1(x))), as in a vision transformer and in Phi.
class GeluMlp : public torch::nn::Module {
 public:
  GeluMlp(int64_t width, int64_t intermediate, Activation activation = Activation::kGelu);
  torch::Tensor forward(const torch::Tensor& x) const;
  std::shared_ptr<Linear> fc1, fc2;

 private:
  Activation activation_;
};

// Shifts and scales a new layer's weight [out, ...] and bias [out] so that its outputs, of which `y` is a
// sample, have mean 0 and deviation 1 in every channel of dimension `channels`: data-dependent
// initialisation (Krahenbuhl et al., 2016). Without it what all pictures share drowns what tells them apart.
void standardise(torch::Tensor& weight, torch::Tensor& bias, const torch::Tensor& y, int64_t channels);

// Parameters of `module`, all elements.
int64_t count_parameters(const torch::nn::Module& module);

}  // namespace mose::nn
