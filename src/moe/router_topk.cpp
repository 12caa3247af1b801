#include "moe/router_parts.h"

namespace mose::moe {
namespace {

// The plain token router: p = softmax(W x).
class TopKRouter : public Router {
 public:
  TopKRouter(const Config& config, int64_t width) : config_(config) {
    weight_ = register_parameter("weight", router_weight(config.experts, width));
  }

  Routing forward(const torch::Tensor& x_TD) override {
    Routing routing;
    routing.logits_TE = linear_float32(x_TD, weight_);
    choose_by_softmax(routing, config_);
    return routing;
  }

 private:
  Config config_;
  torch::Tensor weight_;
};

}  // namespace

std::shared_ptr<Router> make_topk_router(const Config& config, int64_t width, const SkillMap&) {
  return std::make_shared<TopKRouter>(config, width);
}

}  // namespace mose::moe
