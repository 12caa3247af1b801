#include "moe/swiglu.h"

#include <torch/torch.h>

#include "mose/nn/fused.h"
#include "mose/nn/inference.h"
#include "mose/nn/int8.h"
#include "moe/cuda/kernels.h"
#include "nn/cuda/tensors.h"
#include "nn/product.h"

namespace mose::moe {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Calls body(e, first row, rows) for each expert that has rows.
template <class Body>
void for_each_group(const std::vector<int64_t>& counts_E, const Body& body) {
  int64_t begin = 0;
  for (size_t e = 0; e < counts_E.size(); ++e) {
    if (counts_E[e] > 0) body(static_cast<int64_t>(e), begin, counts_E[e]);
    begin += counts_E[e];
  }
}

Tensor row_ends(const std::vector<int64_t>& counts_E, torch::Device device) {
  Tensor ends = torch::empty({static_cast<int64_t>(counts_E.size())}, torch::kInt32);
  int32_t sum = 0;
  for (size_t e = 0; e < counts_E.size(); ++e) {
    ends.mutable_data_ptr<int32_t>()[e] = sum += static_cast<int32_t>(counts_E[e]);
  }
  return ends.to(device);
}

// Where expert weights get no rows their gradient must be zero, not whatever memory held.
Tensor empty_gradient(const Tensor& weight, const std::vector<int64_t>& counts_E) {
  Tensor grad = at::empty_like(weight, at::MemoryFormat::Contiguous);
  for (size_t e = 0; e < counts_E.size(); ++e) {
    if (counts_E[e] == 0) grad.select(0, static_cast<int64_t>(e)).zero_();
  }
  return grad;
}

// out = x W^T
void multiply(Tensor out_RO, const Tensor& x_RD, const Tensor& weight_OD) {
  if (nn::multiply_few_rows(x_RD, weight_OD, out_RO)) return;
  if (nn::takes_onednn(x_RD, weight_OD)) out_RO.copy_(nn::product(x_RD, weight_OD));
  else at::mm_out(out_RO, x_RD, weight_OD.t());
}

struct Products {
  Tensor pre, out;  // gate‖up before the activation, and the result
};

// Expert by expert, or grouped where there are ends.
Products multiply_groups(const Tensor& rows, const Tensor& gate_up, const Tensor& down, const std::vector<int64_t>& counts_E,
                         const Tensor& ends) {
  if (ends.defined()) {
    const Tensor pre = at::_grouped_mm(rows, gate_up.transpose(1, 2), ends);
    return {pre, at::_grouped_mm(nn::silu_mul_halves(pre), down.transpose(1, 2), ends)};
  }
  const Tensor pre = nn::empty({rows.size(0), gate_up.size(1)}, rows.options()), out = nn::empty({rows.size(0), down.size(1)}, rows.options());
  // All of one expert before the next: its hidden rows are still in cache for the second product.
  for_each_group(counts_E, [&](int64_t e, int64_t begin, int64_t n) {
    multiply(pre.narrow(0, begin, n), rows.narrow(0, begin, n), gate_up.select(0, e));
    multiply(out.narrow(0, begin, n), nn::silu_mul_halves(pre.narrow(0, begin, n)), down.select(0, e));
  });
  return {pre, out};
}

class StackedSwiglu : public torch::autograd::Function<StackedSwiglu> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& rows, const Tensor& gate_up, const Tensor& down,
                        const std::vector<int64_t>& counts_E, const std::optional<Tensor>& ends_E) {
    const Tensor ends = ends_E.value_or(Tensor());
    const auto [pre, out] = multiply_groups(rows, gate_up, down, counts_E, ends);
    // Frozen experts need no rows in the backward pass.
    ctx->save_for_backward({gate_up.requires_grad() ? rows : Tensor(), gate_up, down, pre, ends});
    ctx->saved_data["counts"] = counts_E;
    return out;
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &rows = saved[0], &gate_up = saved[1], &down = saved[2], &pre = saved[3], &ends = saved[4];
    const std::vector<int64_t> counts_E = ctx->saved_data["counts"].toIntVector();
    const Tensor grad_out = grads[0].contiguous();
    Tensor grad_rows, grad_gate_up, grad_down;
    if (ends.defined()) {
      const Tensor grad_pre = at::empty_like(pre);
      const Tensor hidden = nn::silu_mul_halves_backward(at::_grouped_mm(grad_out, down, ends), pre, grad_pre);
      if (ctx->needs_input_grad(0)) grad_rows = at::_grouped_mm(grad_pre, gate_up, ends);
      if (ctx->needs_input_grad(1)) grad_gate_up = at::_grouped_mm(grad_pre.t(), rows, ends);
      if (ctx->needs_input_grad(2)) grad_down = at::_grouped_mm(grad_out.t(), hidden, ends);
    } else {
      if (ctx->needs_input_grad(0)) grad_rows = at::empty({pre.size(0), gate_up.size(2)}, pre.options());
      if (ctx->needs_input_grad(1)) grad_gate_up = empty_gradient(gate_up, counts_E);
      if (ctx->needs_input_grad(2)) grad_down = empty_gradient(down, counts_E);
      for_each_group(counts_E, [&](int64_t e, int64_t begin, int64_t n) {
        const Tensor pre_e = pre.narrow(0, begin, n), grad_out_e = grad_out.narrow(0, begin, n);
        const Tensor grad_pre = at::empty_like(pre_e);
        const Tensor hidden = nn::silu_mul_halves_backward(nn::product(grad_out_e, down.select(0, e).t()), pre_e, grad_pre);
        if (grad_down.defined()) {
          Tensor slice = grad_down.select(0, e);
          at::mm_out(slice, grad_out_e.t(), hidden);
        }
        if (grad_gate_up.defined()) {
          Tensor slice = grad_gate_up.select(0, e);
          at::mm_out(slice, grad_pre.t(), rows.narrow(0, begin, n));
        }
        if (grad_rows.defined()) {
          multiply(grad_rows.narrow(0, begin, n), grad_pre, gate_up.select(0, e).t());
        }
      });
    }
    return {grad_rows, grad_gate_up, grad_down, Tensor(), Tensor()};  // and nothing for counts and ends
  }
};

}  // namespace

GroupedProduct choose_product(const Tensor& rows_RD, torch::Dtype type, int64_t intermediate) {
  const bool aligned = rows_RD.size(1) % 8 == 0 && intermediate % 8 == 0;
  return rows_RD.is_cuda() && type == torch::kBFloat16 && aligned ? GroupedProduct::kGrouped : GroupedProduct::kLoop;
}

Tensor stacked_swiglu(const Tensor& rows_RD, const Tensor& gate_up, const Tensor& down,
                      const std::vector<int64_t>& counts_E, GroupedProduct product) {
  const auto ends = product == GroupedProduct::kGrouped ? std::optional(row_ends(counts_E, rows_RD.device())) : std::nullopt;
  if (!nn::needs_gradient(rows_RD, gate_up, down)) {
    return multiply_groups(rows_RD.contiguous(), gate_up, down, counts_E, ends.value_or(Tensor())).out;
  }
  return StackedSwiglu::apply(rows_RD.contiguous(), gate_up, down, counts_E, ends);
}

Tensor grouped_swiglu(const Tensor& rows_RD, const Tensor& gate_up, const Tensor& down, const Tensor& ends_E) {
  if (!nn::needs_gradient(rows_RD, gate_up, down)) return multiply_groups(rows_RD.contiguous(), gate_up, down, {}, ends_E).out;
  return StackedSwiglu::apply(rows_RD.contiguous(), gate_up, down, std::vector<int64_t>{}, std::optional(ends_E));
}

Tensor few_rows_swiglu(const Tensor& x_TD, const Tensor& gate_up, const Tensor& down, const Tensor& experts_TK, const Tensor& weights_TK) {
  namespace gpu = nn::cuda;
  const int64_t tokens = x_TD.size(0), choices = experts_TK.numel();
  if (at::GradMode::is_enabled() || !gpu::has_kernels(x_TD) || gate_up.scalar_type() != x_TD.scalar_type() || !gate_up.is_contiguous() ||
      !down.is_contiguous() || tokens > cuda::kFewTokens || choices > cuda::kFewChoices) {
    return {};
  }
  const Tensor x = x_TD.contiguous(), chosen = experts_TK.contiguous(), weights = weights_TK.to(torch::kFloat32).contiguous();
  const Tensor hidden = at::empty({choices, down.size(2)}, x.options()), out = at::empty_like(x);
  gpu::with_kernels(x, [&]<class T>(auto stream, T) {
    cuda::few_rows(stream, gpu::in<T>(x), gpu::in<T>(gate_up), gpu::in<T>(down), gpu::in<int64_t>(chosen), gpu::in<float>(weights),
                   gpu::out<T>(hidden), gpu::out<T>(out), tokens, experts_TK.size(1), gate_up.size(0), x.size(1), down.size(2));
  });
  return out;
}

Tensor stacked_swiglu_int8(const Tensor& rows_RD, const Tensor& gate_up, const Tensor& down, const std::vector<int64_t>& counts_E) {
  const Tensor rows = rows_RD.contiguous();
  const Tensor pre = nn::empty({rows.size(0), gate_up.size(1)}, rows.options()), out = nn::empty({rows.size(0), down.size(1)}, rows.options());
  for_each_group(counts_E, [&](int64_t e, int64_t begin, int64_t n) {
    nn::multiply_int8(rows.narrow(0, begin, n), gate_up.select(0, e), pre.narrow(0, begin, n));
    nn::multiply_int8(nn::silu_mul_halves(pre.narrow(0, begin, n)), down.select(0, e), out.narrow(0, begin, n));
  });
  return out;
}

}  // namespace mose::moe
