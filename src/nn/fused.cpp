#include "mose/nn/fused.h"

#include <ATen/autocast_mode.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "mose/nn/int8.h"
#include "nn/cpu/few_rows.h"
#include "nn/cpu/tensors.h"
#include "nn/cuda/tensors.h"
#include "nn/product.h"

namespace mose::nn {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kNormBlock = 64;  // rows whose part of a norm's weight gradient is one partial sum

// `scale` [rows] is for the backward pass, or undefined.
Tensor normed(const Tensor& x, const Tensor& weight, double eps, const Tensor& scale) {
  const int64_t width = x.size(-1), rows = x.numel() / width;
  const Tensor y = empty(x.sizes(), x.options());
  float* scales = scale.defined() ? cpu::out<float>(scale) : nullptr;
  if (x.is_cuda()) {
    cuda::with_kernels(x, [&]<class T>(auto stream, T) {
      cuda::rms_norm(stream, cuda::in<T>(x), cuda::in<T>(weight), cuda::out<T>(y), scales, rows, width, static_cast<float>(eps));
    });
    return y;
  }
  cpu::with_kernels(x, [&]<class T>(const auto& k, T) {
    cpu::for_rows(rows, width, [&](int64_t begin, int64_t end) {
      k.rms_norm(cpu::in<T>(x), cpu::in<T>(weight), cpu::out<T>(y), scales, begin, end, width, static_cast<float>(eps));
    });
  });
  return y;
}

class FusedRmsNorm : public torch::autograd::Function<FusedRmsNorm> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, double eps) {
    const Tensor scale = at::empty({x.numel() / x.size(-1)}, x.options().dtype(torch::kFloat32));
    ctx->save_for_backward({x, weight, scale});
    return normed(x, weight, eps, scale);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], &scale = saved[2], grad = grads[0].contiguous();
    const int64_t width = x.size(-1), rows = x.numel() / width;
    const bool weight_learns = ctx->needs_input_grad(1);
    const Tensor dx = at::empty_like(x);
    if (x.is_cuda()) {
      const Tensor parts = weight_learns ? at::empty({(rows + cuda::kNormRows - 1) / cuda::kNormRows, width}, scale.options()) : Tensor();
      cuda::with_kernels(x, [&]<class T>(auto stream, T) {
        cuda::rms_norm_backward(stream, cuda::in<T>(grad), cuda::in<T>(x), cuda::in<T>(weight), cuda::in<float>(scale),
                                cuda::out<T>(dx), weight_learns ? cuda::out<float>(parts) : nullptr, rows, width);
      });
      return {dx, weight_learns ? parts.sum(0).to(weight.scalar_type()) : Tensor(), Tensor()};
    }
    const int64_t blocks = (rows + kNormBlock - 1) / kNormBlock;
    const Tensor parts = at::zeros({blocks, width}, scale.options());
    cpu::with_kernels(x, [&]<class T>(const auto& k, T) {
      cpu::for_rows(blocks, kNormBlock * width, [&](int64_t begin, int64_t end) {
        for (int64_t b = begin; b < end; ++b) {
          k.rms_norm_backward(cpu::in<T>(grad), cpu::in<T>(x), cpu::in<T>(weight), cpu::in<float>(scale), cpu::out<T>(dx),
                              cpu::out<float>(parts) + b * width, b * kNormBlock, std::min(rows, (b + 1) * kNormBlock), width);
        }
      });
    });
    return {dx, weight_learns ? parts.sum(0).to(weight.scalar_type()) : Tensor(), Tensor()};
  }
};

Tensor silu_times(const Tensor& gate, const Tensor& up) {
  const int64_t width = gate.size(-1), rows = gate.numel() / width;
  const Tensor hidden = empty(gate.sizes(), gate.options());
  if (gate.is_cuda()) {
    cuda::with_kernels(gate, [&]<class T>(auto stream, T) {
      cuda::silu_mul(stream, cuda::in<T>(gate), cuda::in<T>(up), width, cuda::out<T>(hidden), rows, width);
    });
    return hidden;
  }
  cpu::with_kernels(gate, [&]<class T>(const auto& k, T) {
    cpu::for_rows(rows, width, [&](int64_t begin, int64_t end) {
      k.silu_mul(cpu::in<T>(gate), cpu::in<T>(up), width, cpu::out<T>(hidden), begin, end, width);
    });
  });
  return hidden;
}

class FusedSiluMul : public torch::autograd::Function<FusedSiluMul> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& gate, const Tensor& up) {
    ctx->save_for_backward({gate, up});
    return silu_times(gate, up);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &gate = saved[0], &up = saved[1], grad = grads[0].contiguous();
    const int64_t width = gate.size(-1), rows = gate.numel() / width;
    const Tensor grad_gate = at::empty_like(gate), grad_up = at::empty_like(up);
    if (gate.is_cuda()) {
      cuda::with_kernels(gate, [&]<class T>(auto stream, T) {
        cuda::silu_mul_backward<T>(stream, cuda::in<T>(grad), cuda::in<T>(gate), cuda::in<T>(up), width, cuda::out<T>(grad_gate),
                                   cuda::out<T>(grad_up), width, nullptr, rows, width);
      });
      return {grad_gate, grad_up};
    }
    cpu::with_kernels(gate, [&]<class T>(const auto& k, T) {
      cpu::for_rows(rows, width, [&](int64_t begin, int64_t end) {
        k.silu_mul_backward(cpu::in<T>(grad), cpu::in<T>(gate), cpu::in<T>(up), width, cpu::out<T>(grad_gate),
                            cpu::out<T>(grad_up), width, nullptr, begin, end, width);
      });
    });
    return {grad_gate, grad_up};
  }
};

// x W^T + b by product(), forward and backward.
class FusedLinear : public torch::autograd::Function<FusedLinear> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight, const std::optional<Tensor>& bias) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["bias"] = bias.has_value();
    return product(x, weight, bias);
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &x = saved[0], &weight = saved[1], grad = grads[0].contiguous();
    variable_list out(3);
    if (ctx->needs_input_grad(0)) out[0] = product(grad, weight.t());
    if (ctx->needs_input_grad(1)) out[1] = at::mm(grad.t(), x);
    if (ctx->saved_data["bias"].toBool() && ctx->needs_input_grad(2)) out[2] = grad.sum(0);
    return out;
  }
};

bool has_kernels(const Tensor& t) { return cpu::has_kernels(t) || cuda::has_kernels(t); }

bool same_kind(const Tensor& a, const Tensor& b) {
  return has_kernels(a) && b.device() == a.device() && a.scalar_type() == b.scalar_type() && a.is_contiguous() && b.is_contiguous();
}

}  // namespace

Tensor rms_norm(const Tensor& x, const Tensor& weight, double eps) {
  if (x.numel() == 0 || !same_kind(x, weight) || weight.sizes() != x.sizes().slice(x.dim() - 1) ||
      (x.is_cuda() && x.size(-1) > cuda::kWidestNorm)) {
    return at::rms_norm(x, weight.sizes(), weight, eps);
  }
  if (!needs_gradient(x, weight)) return normed(x, weight, eps, {});
  return FusedRmsNorm::apply(x, weight, eps);
}

Tensor silu_mul(const Tensor& gate, const Tensor& up) {
  if (gate.numel() == 0 || !same_kind(gate, up) || gate.sizes() != up.sizes()) return at::silu(gate) * up;
  return needs_gradient(gate, up) ? FusedSiluMul::apply(gate, up) : silu_times(gate, up);
}

Tensor silu_mul_halves(const Tensor& gate_up_RF2) {
  const int64_t rows = gate_up_RF2.size(0), width = gate_up_RF2.size(1) / 2;
  if (!has_kernels(gate_up_RF2) || !gate_up_RF2.is_contiguous()) {
    return at::silu(gate_up_RF2.narrow(1, 0, width)) * gate_up_RF2.narrow(1, width, width);
  }
  const Tensor hidden = empty({rows, width}, gate_up_RF2.options());
  if (gate_up_RF2.is_cuda()) {
    cuda::with_kernels(gate_up_RF2, [&]<class T>(auto stream, T) {
      const T* in = cuda::in<T>(gate_up_RF2);
      cuda::silu_mul(stream, in, in + width, 2 * width, cuda::out<T>(hidden), rows, width);
    });
    return hidden;
  }
  cpu::with_kernels(gate_up_RF2, [&]<class T>(const auto& k, T) {
    const T* in = cpu::in<T>(gate_up_RF2);
    cpu::for_rows(rows, width, [&](int64_t begin, int64_t end) {
      k.silu_mul(in, in + width, 2 * width, cpu::out<T>(hidden), begin, end, width);
    });
  });
  return hidden;
}

Tensor silu_mul_halves_backward(const Tensor& grad_RF, const Tensor& gate_up_RF2, const Tensor& grad_RF2) {
  const int64_t rows = gate_up_RF2.size(0), width = gate_up_RF2.size(1) / 2;
  if (!has_kernels(gate_up_RF2) || !gate_up_RF2.is_contiguous() || !grad_RF2.is_contiguous()) {
    const Tensor gate = gate_up_RF2.narrow(1, 0, width), up = gate_up_RF2.narrow(1, width, width), silu = at::silu(gate);
    Tensor grad_gate = grad_RF2.narrow(1, 0, width), grad_up = grad_RF2.narrow(1, width, width);
    at::mul_out(grad_up, grad_RF, silu);
    at::silu_backward_out(grad_gate, grad_RF * up, gate);
    return silu * up;
  }
  const Tensor grad = grad_RF.contiguous(), hidden = at::empty({rows, width}, gate_up_RF2.options());
  if (gate_up_RF2.is_cuda()) {
    cuda::with_kernels(gate_up_RF2, [&]<class T>(auto stream, T) {
      const T* in = cuda::in<T>(gate_up_RF2);
      T* to = cuda::out<T>(grad_RF2);
      cuda::silu_mul_backward(stream, cuda::in<T>(grad), in, in + width, 2 * width, to, to + width, 2 * width, cuda::out<T>(hidden),
                              rows, width);
    });
    return hidden;
  }
  cpu::with_kernels(gate_up_RF2, [&]<class T>(const auto& k, T) {
    const T* in = cpu::in<T>(gate_up_RF2);
    T* to = cpu::out<T>(grad_RF2);
    cpu::for_rows(rows, width, [&](int64_t begin, int64_t end) {
      k.silu_mul_backward(cpu::in<T>(grad), in, in + width, 2 * width, to, to + width, 2 * width, cpu::out<T>(hidden), begin, end,
                          width);
    });
  });
  return hidden;
}

bool multiply_few_rows(const Tensor& x_RD, const Tensor& weight_OD, const Tensor& out_RO) {
  if (x_RD.size(0) == 0 || x_RD.size(0) > cpu::kFewRows || !x_RD.is_cpu() || needs_gradient(x_RD, weight_OD) ||
      at::autocast::is_autocast_enabled(at::kCPU) || !same_kind(x_RD, weight_OD) || !same_kind(x_RD, out_RO)) {
    return false;
  }
  cpu::multiply(x_RD, weight_OD, out_RO);
  return true;
}

Tensor linear(const Tensor& x, const Tensor& weight, const Tensor& bias) {
  const auto with_bias = [&](Tensor y) { return bias.defined() ? (needs_gradient(bias) ? y + bias : y.add_(bias)) : y; };
  if (is_packed(weight)) {
    const Tensor y = empty({x.size(0), weight.size(0)}, x.options());
    multiply_int8(x, weight, y);
    return with_bias(y);
  }
  if (x.is_cpu() && x.dim() == 2 && x.size(0) <= cpu::kFewRows && !needs_gradient(x, weight)) {
    const Tensor y = empty({x.size(0), weight.size(0)}, x.options());
    if (multiply_few_rows(x, weight, y)) return with_bias(y);
  }
  if (!takes_onednn(x, weight) || at::autocast::is_autocast_enabled(at::kCPU)) return at::linear(x, weight, bias);
  const auto more = bias.defined() ? std::optional(bias) : std::nullopt;
  return needs_gradient(x, weight, bias) ? FusedLinear::apply(x, weight, more) : product(x, weight, more);
}

}  // namespace mose::nn
