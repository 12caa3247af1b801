// The top-2 gate of DeepSpeed 0.9.5 (GShard; Lepikhin et al., 2021), with capacity and drops.
#include <ATen/CPUGeneratorImpl.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "moe/router_parts.h"

namespace mose::moe {
namespace {

using torch::Tensor;

// The place of each row in its expert's queue: how many earlier rows chose the same expert.
Tensor places(const Tensor& chosen_TE) { return ((chosen_TE.cumsum(0) - 1) * chosen_TE).sum(1); }

class DeepSpeedRouter : public Router {
 public:
  DeepSpeedRouter(const Config& config, int64_t width) : config_(config) {
    weight_ = register_parameter("weight", router_weight(config.experts, width));
  }

  Routing forward(const Tensor& x_TD) override {
    Routing routing;
    routing.logits_TE = linear_float32(x_TD, weight_);
    routing.probabilities_TE = routing.logits_TE.softmax(1);
    routing.first_choice_balance = true;
    const Tensor first_T = routing.probabilities_TE.detach().argmax(1);
    const Tensor first_TE = at::one_hot(first_T, config_.experts);
    const Tensor others_TE = noisy(routing.logits_TE.detach()).masked_fill(first_TE.to(torch::kBool), -std::numeric_limits<float>::infinity());
    const Tensor second_T = others_TE.argmax(1);
    const Tensor second_TE = at::one_hot(second_T, config_.experts);
    routing.experts_TK = at::stack({first_T, second_T}, 1);
    // Second choices queue behind all first choices of their expert.
    const Tensor place_TK = at::stack({places(first_TE), places(second_TE) + first_TE.sum(0).index_select(0, second_T)}, 1);
    const Tensor kept_TK = routing.probabilities_TE.gather(1, routing.experts_TK) * (place_TK < capacity(x_TD.size(0)));
    routing.weights_TK = kept_TK / kept_TK.sum(1, /*keepdim=*/true).clamp_min(std::numeric_limits<float>::epsilon());
    return routing;
  }

 private:
  // ceil(2 factor T / E), in float32 as the gate computes it.
  int64_t capacity(int64_t rows) const {
    const float each = static_cast<float>(rows) / static_cast<float>(config_.experts);
    return std::max(static_cast<int64_t>(std::ceil(each * static_cast<float>(2 * config_.capacity_factor))), config_.min_capacity);
  }

  Tensor noisy(const Tensor& logits_TE) const {
    if (!config_.gate_noise) return logits_TE;
    auto generator = at::make_generator<at::CPUGeneratorImpl>(static_cast<uint64_t>(config_.gate_seed));
    // Gumbel noise: -log(-log u).
    const Tensor u_TE = at::rand(logits_TE.sizes(), generator, torch::kFloat32).clamp(1e-20, 1 - 1e-7);
    return logits_TE - (-u_TE.log()).log().to(logits_TE.device());
  }

  Config config_;
  Tensor weight_;
};

}  // namespace

std::shared_ptr<Router> make_deepspeed_router(const Config& config, int64_t width, const SkillMap&) {
  return std::make_shared<DeepSpeedRouter>(config, width);
}

}  // namespace mose::moe
