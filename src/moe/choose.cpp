// From logits or probabilities to the chosen experts and their weights.
#include <torch/torch.h>

#include "moe/cuda/kernels.h"
#include "moe/dispatch_cpu.h"
#include "moe/router_parts.h"
#include "mose/moe/dispatch.h"
#include "mose/nn/inference.h"
#include "nn/cuda/tensors.h"

namespace mose::moe {
namespace {

using torch::Tensor;
using torch::autograd::AutogradContext;
using torch::autograd::variable_list;
namespace gpu = nn::cuda;

bool has_kernel(const Tensor& values_TE) {
  return gpu::has_kernels(values_TE) && values_TE.scalar_type() == torch::kFloat32 &&
         values_TE.size(1) <= cuda::kMostExperts;
}

// {weights_TK, experts_TK, probabilities_TE} of logits, or of probabilities, which then are the third.
class Route : public torch::autograd::Function<Route> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& values_TE, int64_t k, bool softmax, bool normalise) {
    const Tensor values = values_TE.contiguous();
    const int64_t tokens = values.size(0), experts = values.size(1);
    const Tensor p_TE = softmax ? at::empty_like(values) : values,
                 weights_TK = at::empty({tokens, k}, values.options());
    const Tensor chosen_TK = at::empty({tokens, k}, values.options().dtype(torch::kInt64));
    gpu::on_stream(values, [&](auto stream) {
      cuda::route(stream, gpu::in<float>(values), softmax ? gpu::out<float>(p_TE) : nullptr,
                  gpu::out<int64_t>(chosen_TK), gpu::out<float>(weights_TK), normalise, tokens, experts, k);
    });
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({p_TE, chosen_TK});
    ctx->saved_data["softmax"] = softmax;
    ctx->saved_data["normalise"] = normalise;
    ctx->mark_non_differentiable({chosen_TK});
    if (softmax) return {weights_TK, chosen_TK, p_TE};
    return {weights_TK, chosen_TK};
  }

  static variable_list backward(AutogradContext* ctx, variable_list grads) {
    const auto saved = ctx->get_saved_variables();
    const Tensor &p_TE = saved[0], &chosen_TK = saved[1];
    const bool softmax = ctx->saved_data["softmax"].toBool(), normalise = ctx->saved_data["normalise"].toBool();
    const auto whole = [](const Tensor& t) { return t.defined() ? t.contiguous() : t; };
    const Tensor grad_weights = whole(grads[0]), grad_p = softmax ? whole(grads[2]) : Tensor(),
                 grad = at::empty_like(p_TE);
    const auto data = [](const Tensor& t) { return t.defined() ? gpu::in<float>(t) : nullptr; };
    gpu::on_stream(p_TE, [&](auto stream) {
      cuda::route_backward(stream, data(grad_p), data(grad_weights), gpu::in<float>(p_TE), gpu::in<int64_t>(chosen_TK),
                           softmax, normalise, gpu::out<float>(grad), p_TE.size(0), p_TE.size(1), chosen_TK.size(1));
    });
    return {grad, Tensor(), Tensor(), Tensor()};
  }
};

// Whether the values go through cpu::route, which keeps nothing for a backward pass.
bool routed_on_cpu(const Tensor& values_TE) {
  return values_TE.is_cpu() && values_TE.scalar_type() == torch::kFloat32 && !nn::needs_gradient(values_TE);
}

}  // namespace

void choose_experts(Routing& routing, const Config& config) {
  if (routed_on_cpu(routing.probabilities_TE)) {
    routing.probabilities_TE = routing.probabilities_TE.contiguous();
    cpu::route(routing, config.top_k, config.normalise_top_k);
    return;
  }
  if (has_kernel(routing.probabilities_TE)) {
    const auto out = Route::apply(routing.probabilities_TE, config.top_k, false, config.normalise_top_k);
    routing.weights_TK = out[0];
    routing.experts_TK = out[1];
    return;
  }
  routing.experts_TK = top_k_indices(routing.probabilities_TE.detach(), config.top_k);
  const Tensor chosen_TK = routing.probabilities_TE.gather(1, routing.experts_TK);
  routing.weights_TK = config.normalise_top_k ? chosen_TK / chosen_TK.sum(1, /*keepdim=*/true) : chosen_TK;
}

void choose_by_softmax(Routing& routing, const Config& config) {
  if (routed_on_cpu(routing.logits_TE)) {
    routing.probabilities_TE = nn::empty(routing.logits_TE.sizes(), routing.logits_TE.options());
    at::softmax_out(routing.probabilities_TE, routing.logits_TE, 1);
    cpu::route(routing, config.top_k, config.normalise_top_k);
    return;
  }
  if (!has_kernel(routing.logits_TE)) {
    routing.probabilities_TE = routing.logits_TE.softmax(1);
    choose_experts(routing, config);
    return;
  }
  const auto out = Route::apply(routing.logits_TE, config.top_k, true, config.normalise_top_k);
  routing.weights_TK = out[0];
  routing.experts_TK = out[1];
  routing.probabilities_TE = out[2];
}

}  // namespace mose::moe
