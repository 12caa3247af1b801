#include "mose/nn/rotary.h"

#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/nn/inference.h"
#include "nn/cpu/tensors.h"
#include "nn/cuda/tensors.h"

namespace mose::nn {

void RopeScaling::visit(FieldVisitor& v) {
  v.field("type", type, "linear, or llama3 (by the length of a turn)", {"linear", "llama3"});
  v.field("factor", factor, "by which slow turns are slowed", 1, 1e6);
  v.field("low_freq_factor", low_freq_factor, "llama3: turns longer than original_positions / this are slowed", 1e-6, 1e6);
  v.field("high_freq_factor", high_freq_factor, "llama3: turns shorter than original_positions / this are kept", 1e-6, 1e6);
  v.field("original_positions", original_positions, "llama3: longest sequence before stretching", 1, 1e8);
}

torch::Tensor rotary_frequencies(int64_t width, double theta, const std::optional<RopeScaling>& scaling) {
  const auto exponents = torch::arange(0, width, 2, torch::kFloat32) / static_cast<double>(width);
  const auto f = 1 / torch::pow(theta, exponents);
  if (!scaling) return f;
  if (scaling->type == "linear") return f / scaling->factor;
  if (scaling->type != "llama3") throw UsageError("rope_scaling.type = \"" + scaling->type + "\": known types: linear, llama3");
  const double low = scaling->low_freq_factor, high = scaling->high_freq_factor;
  if (high <= low) throw UsageError("rope_scaling: expected high_freq_factor above low_freq_factor");
  // Turns within the original context; between low and high of them the share of f itself rises from 0 to 1.
  const auto turns = static_cast<double>(scaling->original_positions) / (2 * M_PI / f);
  const auto keep = ((turns - low) / (high - low)).clamp(0, 1);
  return (1 - keep) * f / scaling->factor + keep * f;
}

RotaryTable rotary_table(const torch::Tensor& positions_T, const torch::Tensor& frequencies_h) {
  const auto frequencies = frequencies_h.to(positions_T.device());
  const int64_t rows = positions_T.size(0);
  const auto positions = empty({rows, 1, 1}, frequencies.options());
  positions.copy_(positions_T.view({rows, 1, 1}));
  const std::vector<int64_t> sizes = {rows, 1, frequencies.size(0)};
  auto angles = empty(sizes, frequencies.options());
  at::mul_out(angles, positions, frequencies);
  auto cos = empty(sizes, frequencies.options());
  at::cos_out(cos, angles);
  return {cos, angles.sin_()};
}

namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Heads of one row behind each other; rows may lie apart.
Tensor turned(const Tensor& x_THd, const Tensor& cos, const Tensor& sin, float sign) {
  const int64_t rows = x_THd.size(0), heads = x_THd.size(1), width = x_THd.size(2), half = cos.size(-1);
  const Tensor out = empty(x_THd.sizes(), x_THd.options());
  if (x_THd.is_cuda()) {
    cuda::with_kernels(x_THd, [&]<class T>(auto stream, T) {
      cuda::rotate(stream, cuda::in<T>(x_THd), x_THd.stride(0), cuda::in<float>(cos), cuda::in<float>(sin), sign, cuda::out<T>(out),
                   rows, heads, width, half);
    });
    return out;
  }
  cpu::with_kernels(x_THd, [&]<class T>(const auto& k, T) {
    cpu::for_rows(rows, heads * width, [&](int64_t begin, int64_t end) {
      k.rotate(cpu::in<T>(x_THd), x_THd.stride(0), cpu::in<float>(cos), cpu::in<float>(sin), sign, cpu::out<T>(out), begin, end,
               heads, width, half);
    });
  });
  return out;
}

// The gradient turns back.
class FusedRotary : public torch::autograd::Function<FusedRotary> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x_THd, const Tensor& cos, const Tensor& sin) {
    ctx->save_for_backward({cos, sin});
    return turned(x_THd, cos, sin, 1);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    return {turned(grads[0].contiguous(), saved[0], saved[1], -1), Tensor(), Tensor()};
  }
};

}  // namespace

torch::Tensor apply_rotary(const torch::Tensor& x_THd, const RotaryTable& table) {
  if ((cpu::has_kernels(x_THd) || cuda::has_kernels(x_THd)) && table.cos_T1h.is_contiguous() && table.sin_T1h.is_contiguous() &&
      table.cos_T1h.scalar_type() == torch::kFloat32) {
    const bool rows_whole = x_THd.stride(2) == 1 && x_THd.stride(1) == x_THd.size(2);
    const Tensor x = rows_whole ? x_THd : x_THd.contiguous();
    return needs_gradient(x) ? FusedRotary::apply(x, table.cos_T1h, table.sin_T1h) : turned(x, table.cos_T1h, table.sin_T1h, 1);
  }
  const int64_t half = table.cos_T1h.size(-1), rest = x_THd.size(-1) - 2 * half;
  const auto cos = table.cos_T1h.to(x_THd.dtype()), sin = table.sin_T1h.to(x_THd.dtype());
  const auto first = x_THd.narrow(-1, 0, half), second = x_THd.narrow(-1, half, half);
  const auto a = first * cos - second * sin, b = second * cos + first * sin;
  return rest == 0 ? torch::cat({a, b}, -1) : torch::cat({a, b, x_THd.narrow(-1, 2 * half, rest)}, -1);
}

}  // namespace mose::nn
