#include "moe/router_parts.h"

namespace mose::moe {
namespace {

// One linear map to expert logits; the losses teach them which experts serve the token's skills.
class SkillRouter : public Router {
 public:
  SkillRouter(const Config& config, int64_t width) : config_(config) {
    weight_ = register_parameter("weight", router_weight(config.experts, width));
  }

  Routing forward(const torch::Tensor& x_TD) override {
    Routing routing;
    routing.logits_TE = linear_float32(x_TD, weight_);
    routing.experts_taught = true;
    choose_by_softmax(routing, config_);
    return routing;
  }

 private:
  Config config_;
  torch::Tensor weight_;
};

}  // namespace

std::shared_ptr<Router> make_skill_router(const Config& config, int64_t width, const SkillMap&) {
  return std::make_shared<SkillRouter>(config, width);
}

}  // namespace mose::moe
