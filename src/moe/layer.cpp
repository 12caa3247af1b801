#include "mose/moe/layer.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/moe/dispatch.h"

namespace mose::moe {

MoeLayer::MoeLayer(const Config& config, int64_t width, int64_t intermediate, const SkillMap& map)
    : width_(width) {
  router_ = register_module("gate", make_router(config, width, map));
  experts_ = register_module(
      "experts",
      make_experts(config.experts, width, config.intermediate > 0 ? config.intermediate : intermediate));
  expert_count_ = config.experts;
}

std::pair<torch::Tensor, Routing> MoeLayer::forward(const torch::Tensor& x_TD) {
  if (x_TD.dim() != 2 || x_TD.size(1) != width_ || !x_TD.is_floating_point()) {
    throw Error(mose::str("moe layer: x is ", x_TD.scalar_type(), x_TD.sizes(), ": expected floating [tokens, ", width_, "]"));
  }
  Routing routing = router_->forward(x_TD);
  const Dispatch dispatch = plan_dispatch(routing.experts_TK, expert_count_);
  const torch::Tensor out_RD = experts_->forward(gather_rows(x_TD, dispatch), dispatch.counts_E);
  return {combine_rows(out_RD, routing.weights_TK, dispatch), std::move(routing)};
}

}  // namespace mose::moe
