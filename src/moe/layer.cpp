#include "mose/moe/layer.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/dispatch.h"
#include "moe/expert_parts.h"
#include "nn/rows.h"

namespace mose::moe {

MoeLayer::MoeLayer(const Config& config, int64_t width, int64_t intermediate, const SkillMap& map, ExpertForm form)
    : width_(width), normalise_top_k_(config.normalise_top_k) {
  router_ = register_module("gate", make_router(config, width, map));
  experts_ = register_module(
      "experts",
      make_experts(config.experts, width, config.intermediate > 0 ? config.intermediate : intermediate, form));
  if (config.shared_ffn > 0) {
    shared_expert_ = register_module("shared_expert", std::make_shared<nn::SwiGlu>(width, config.shared_ffn));
    shared_expert_gate_ = register_module("shared_expert_gate", std::make_shared<nn::Linear>(width, 1, false));
  }
  expert_count_ = config.experts;
}

std::pair<torch::Tensor, Routing> MoeLayer::forward(const torch::Tensor& all_TD, const RouteControl* control, const torch::Tensor& rows_R) {
  if (all_TD.dim() != 2 || all_TD.size(1) != width_ || !all_TD.is_floating_point()) {
    throw Error(mose::str("moe layer: x is ", all_TD.scalar_type(), all_TD.sizes(), ": expected floating [tokens, ", width_, "]"));
  }
  Routing routing = router_->forward(all_TD);
  if (control) steer(routing, *control, normalise_top_k_);
  const torch::Tensor x_TD = nn::rows_of(all_TD, rows_R), experts_TK = nn::rows_of(routing.experts_TK, rows_R),
                      weights_TK = nn::rows_of(routing.weights_TK, rows_R);
  auto* on_device = exchange_ ? nullptr : dynamic_cast<ExpertsOnDevice*>(experts_.get());
  torch::Tensor out_TD = on_device ? on_device->forward_few(x_TD, experts_TK, weights_TK) : torch::Tensor();
  if (!out_TD.defined()) {
    if (on_device && !on_device->serve(x_TD)) on_device = nullptr;
    const Dispatch dispatch = plan_dispatch(experts_TK, expert_count_, /*read_counts=*/!on_device);
    const torch::Tensor rows_RD = gather_rows(x_TD, dispatch);
    const torch::Tensor out_RD = on_device   ? on_device->forward_on_device(rows_RD, dispatch.ends_E)
                                 : exchange_ ? exchange_->forward(rows_RD, dispatch.counts_E, *experts_)
                                             : experts_->forward(rows_RD, dispatch.counts_E);
    out_TD = combine_rows(out_RD, weights_TK, dispatch);
  }
  if (shared_expert_) {
    out_TD = out_TD + at::sigmoid(shared_expert_gate_->forward(x_TD)) * shared_expert_->forward(x_TD);
  }
  return {out_TD, std::move(routing)};
}

}  // namespace mose::moe
