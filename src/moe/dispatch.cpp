#include "mose/moe/dispatch.h"

#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "moe/dispatch_cpu.h"

namespace mose::moe {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// The rows of each choice, [T, K, D].
Tensor choices(const Tensor& rows_RD, const Tensor& row_TK) {
  return rows_RD.index_select(0, row_TK.flatten()).view({row_TK.size(0), row_TK.size(1), rows_RD.size(1)});
}

at::ScalarType sum_type(const Tensor& rows) {
  return rows.scalar_type() == torch::kFloat64 ? torch::kFloat64 : torch::kFloat32;
}

class GatherRows : public torch::autograd::Function<GatherRows> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x_TD, const Tensor& token_R, const Tensor& row_TK) {
    ctx->save_for_backward({row_TK});
    return x_TD.index_select(0, token_R);
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Tensor row_TK = ctx->get_saved_variables()[0];
    const Tensor& grad = grads[0];
    const Tensor out = grad.is_cpu() ? cpu::sum_choices(grad, row_TK)
                                     : choices(grad, row_TK).sum(1, false, sum_type(grad)).to(grad.scalar_type());
    return {out, Tensor(), Tensor()};
  }
};

class CombineRows : public torch::autograd::Function<CombineRows> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& rows_RD, const Tensor& weights_TK,
                        const Tensor& token_R, const Tensor& row_TK) {
    ctx->save_for_backward({rows_RD, weights_TK, token_R, row_TK});
    if (rows_RD.is_cpu()) return cpu::combine(rows_RD, weights_TK, row_TK);
    const auto type = sum_type(rows_RD);
    return (choices(rows_RD, row_TK).to(type) * weights_TK.to(type).unsqueeze(2)).sum(1).to(rows_RD.scalar_type());
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &rows_RD = saved[0], &weights_TK = saved[1], &token_R = saved[2], &row_TK = saved[3];
    if (rows_RD.is_cpu()) {
      const cpu::CombineGradients g = cpu::combine_backward(grads[0], rows_RD, weights_TK, row_TK);
      return {g.rows_RD, g.weights_TK, Tensor(), Tensor()};
    }
    const auto type = sum_type(rows_RD);
    const Tensor grad_RD = grads[0].index_select(0, token_R).to(type);
    // The weight of each sorted row: the choices written to their rows, each once.
    const Tensor weight_R = at::empty_like(weights_TK.flatten()).index_copy_(0, row_TK.flatten(), weights_TK.flatten());
    const Tensor dot_R = (grad_RD * rows_RD).sum(1);
    return {(grad_RD * weight_R.to(type).unsqueeze(1)).to(rows_RD.scalar_type()),
            dot_R.index_select(0, row_TK.flatten()).view_as(weights_TK).to(weights_TK.scalar_type()), Tensor(),
            Tensor()};
  }
};

void check_choices(const Tensor& experts_TK) {
  if (experts_TK.dim() != 2 || experts_TK.scalar_type() != torch::kInt64) {
    throw Error(mose::str("moe dispatch: experts_TK is ", experts_TK.scalar_type(), experts_TK.sizes(),
                    ": expected int64 [tokens, choices]"));
  }
}

}  // namespace

Dispatch plan_dispatch(const Tensor& experts_TK, int64_t experts) {
  check_choices(experts_TK);
  if (experts_TK.is_cpu()) return cpu::plan_dispatch(experts_TK, experts);
  const Tensor flat = experts_TK.flatten();
  const Tensor order_R = at::argsort(flat, /*stable=*/true, 0, /*descending=*/false);
  Dispatch d;
  d.token_R = at::floor_divide(order_R, experts_TK.size(1));
  d.row_TK = at::empty_like(flat)
                 .index_copy_(0, order_R, at::arange(flat.size(0), flat.options()))
                 .view_as(experts_TK);
  // A choice outside [0, experts) lands in the first or last slot.
  const Tensor slots = at::zeros({experts + 2}, flat.options());
  const Tensor counts =
      slots.scatter_add(0, (flat + 1).clamp(0, experts + 1), at::ones_like(flat)).to(torch::kCPU);
  const int64_t* c = counts.const_data_ptr<int64_t>();
  if (c[0] != 0 || c[experts + 1] != 0) {
    throw Error(mose::str("moe dispatch: ", c[0] + c[experts + 1], " choices of an expert outside 0 to ", experts - 1));
  }
  d.counts_E.assign(c + 1, c + 1 + experts);
  return d;
}

Tensor gather_rows(const Tensor& x_TD, const Dispatch& dispatch) {
  return GatherRows::apply(x_TD, dispatch.token_R, dispatch.row_TK);
}

Tensor combine_rows(const Tensor& rows_RD, const Tensor& weights_TK, const Dispatch& dispatch) {
  if (weights_TK.sizes() != dispatch.row_TK.sizes() || weights_TK.scalar_type() != torch::kFloat32) {
    throw Error(mose::str("moe combine: weights are ", weights_TK.scalar_type(), weights_TK.sizes(),
                    ": expected float32 ", dispatch.row_TK.sizes()));
  }
  return CombineRows::apply(rows_RD, weights_TK, dispatch.token_R, dispatch.row_TK);
}

Tensor top_k_indices(const Tensor& values_TE, int64_t k) {
  if (values_TE.is_cpu()) return cpu::top_k_indices(values_TE, k);
  const Tensor order = std::get<1>(at::sort(values_TE, /*stable=*/true, 1, /*descending=*/true));
  return order.narrow(1, 0, k).contiguous();
}

}  // namespace mose::moe
