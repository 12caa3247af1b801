#include "mose/moe/dispatch.h"

#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "moe/cuda/kernels.h"
#include "moe/dispatch_cpu.h"
#include "nn/cuda/tensors.h"

namespace mose::moe {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
namespace gpu = nn::cuda;

// sum_k rows[row[t, k]], weighted where there are weights, by the GPU's kernel.
Tensor sum_on_gpu(const Tensor& rows_RD, const Tensor& weights_TK, const Tensor& row_TK) {
  const Tensor rows = rows_RD.contiguous(), weights = weights_TK.defined() ? weights_TK.contiguous() : weights_TK;
  const Tensor out = at::empty({row_TK.size(0), rows.size(1)}, rows.options());
  gpu::with_kernels(rows, [&]<class T>(auto stream, T) {
    cuda::weighted_sum(stream, gpu::in<T>(rows), weights.defined() ? gpu::in<float>(weights) : nullptr, gpu::in<int64_t>(row_TK),
                       gpu::out<T>(out), row_TK.size(0), row_TK.size(1), rows.size(1));
  });
  return out;
}

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
    if (!gpu::has_kernels(x_TD)) return x_TD.index_select(0, token_R);
    const Tensor x = x_TD.contiguous(), rows = at::empty({token_R.size(0), x.size(1)}, x.options());
    gpu::with_kernels(x, [&]<class T>(auto stream, T) {
      cuda::scatter_rows(stream, gpu::in<T>(x), gpu::in<int64_t>(row_TK), gpu::out<T>(rows), row_TK.size(0), row_TK.size(1), x.size(1));
    });
    return rows;
  }
  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const Tensor row_TK = ctx->get_saved_variables()[0];
    const Tensor& grad = grads[0];
    if (gpu::has_kernels(grad)) return {sum_on_gpu(grad, {}, row_TK), Tensor(), Tensor()};
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
    if (gpu::has_kernels(rows_RD)) return sum_on_gpu(rows_RD, weights_TK, row_TK);
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
    if (gpu::has_kernels(rows_RD)) {
      const Tensor grad = grads[0].contiguous(), rows = rows_RD.contiguous(), weights = weights_TK.contiguous();
      const Tensor grad_rows = at::empty_like(rows), grad_weights = at::empty_like(weights);
      gpu::with_kernels(rows, [&]<class T>(auto stream, T) {
        cuda::weighted_sum_backward(stream, gpu::in<T>(grad), gpu::in<T>(rows), gpu::in<float>(weights), gpu::in<int64_t>(row_TK),
                                    gpu::out<T>(grad_rows), gpu::out<float>(grad_weights), row_TK.size(0), row_TK.size(1), rows.size(1));
      });
      return {grad_rows, grad_weights, Tensor(), Tensor()};
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

std::vector<int64_t> counts_between(const Tensor& ends_E) {
  const Tensor ends = ends_E.to(torch::kCPU);
  const int* end = ends.const_data_ptr<int>();
  std::vector<int64_t> counts_E;
  for (int64_t e = 0; e < ends.size(0); ++e) counts_E.push_back(end[e] - (e > 0 ? end[e - 1] : 0));
  return counts_E;
}

Dispatch plan_on_gpu(const Tensor& experts_TK, int64_t experts, bool read_counts) {
  const Tensor chosen = experts_TK.contiguous();
  const int64_t choices = chosen.numel();
  const auto whole = chosen.options().dtype(torch::kInt32);
  const Tensor counts = at::empty({experts, (choices + cuda::kPlaceBlock - 1) / cuda::kPlaceBlock}, whole);
  Dispatch d;
  d.ends_E = at::empty({experts}, whole);
  d.token_R = at::empty({choices}, chosen.options());
  d.row_TK = at::empty_like(chosen);
  gpu::on_stream(chosen, [&](auto stream) {
    cuda::place(stream, gpu::in<int64_t>(chosen), gpu::out<int>(counts), gpu::out<int64_t>(d.row_TK), gpu::out<int64_t>(d.token_R),
                gpu::out<int>(d.ends_E), choices, experts, chosen.size(1));
  });
  if (read_counts) d.counts_E = counts_between(d.ends_E);
  return d;
}

}  // namespace

Dispatch plan_dispatch(const Tensor& experts_TK, int64_t experts, bool read_counts) {
  check_choices(experts_TK);
  if (experts_TK.is_cpu()) return cpu::plan_dispatch(experts_TK, experts);
  if (MOSE_CUDA_KERNELS != 0 && experts_TK.is_cuda() && experts <= cuda::kMostExperts && experts_TK.numel() <= INT32_MAX) {
    return plan_on_gpu(experts_TK, experts, read_counts);
  }
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
  d.ends_E = counts.narrow(0, 1, experts).cumsum(0).to(flat.device(), torch::kInt32);
  return d;
}

Tensor gather_rows(const Tensor& x_TD, const Dispatch& dispatch) {
  if (x_TD.is_cpu() && !nn::needs_gradient(x_TD)) return cpu::gather(x_TD, dispatch.token_R);
  return GatherRows::apply(x_TD, dispatch.token_R, dispatch.row_TK);
}

Tensor combine_rows(const Tensor& rows_RD, const Tensor& weights_TK, const Dispatch& dispatch) {
  if (weights_TK.sizes() != dispatch.row_TK.sizes() || weights_TK.scalar_type() != torch::kFloat32) {
    throw Error(mose::str("moe combine: weights are ", weights_TK.scalar_type(), weights_TK.sizes(),
                    ": expected float32 ", dispatch.row_TK.sizes()));
  }
  if (rows_RD.is_cpu() && !nn::needs_gradient(rows_RD, weights_TK)) return cpu::combine(rows_RD, weights_TK, dispatch.row_TK);
  return CombineRows::apply(rows_RD, weights_TK, dispatch.token_R, dispatch.row_TK);
}

Tensor top_k_indices(const Tensor& values_TE, int64_t k) {
  if (values_TE.is_cpu()) return cpu::top_k_indices(values_TE, k);
  if (gpu::has_kernels(values_TE) && values_TE.size(1) <= cuda::kMostExperts) {
    const Tensor values = values_TE.to(torch::kFloat32).contiguous(), chosen = at::empty({values.size(0), k}, values.options().dtype(torch::kInt64));
    gpu::on_stream(values, [&](auto stream) {
      cuda::route(stream, gpu::in<float>(values), nullptr, gpu::out<int64_t>(chosen), nullptr, false, values.size(0), values.size(1), k);
    });
    return chosen;
  }
  const Tensor order = std::get<1>(at::sort(values_TE, /*stable=*/true, 1, /*descending=*/true));
  return order.narrow(1, 0, k).contiguous();
}

}  // namespace mose::moe
