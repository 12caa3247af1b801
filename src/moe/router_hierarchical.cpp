#include <algorithm>
#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "moe/router_parts.h"

namespace mose::moe {
namespace {

// A bias-free linear map, so that weights are named gate.stage.weight and so on.
class LinearWeight : public torch::nn::Module {
 public:
  LinearWeight(int64_t rows, int64_t width) {
    weight = register_parameter("weight", router_weight(rows, width));
  }
  torch::Tensor weight;
};

// p(s) = p(stage of s) p(s | stage); p(e) = sum_s p(s) A[s, e], mixed with the shared experts.
class HierarchicalSkillRouter : public Router {
 public:
  // skills_of_stage_ are the sizes of the stages; `order` lists the skills stage by stage.
  HierarchicalSkillRouter(const Config& config, int64_t width, const SkillMap& map,
                          std::vector<int64_t> skills_of_stage, const std::vector<int64_t>& order)
      : config_(config), skills_of_stage_(std::move(skills_of_stage)),
        in_order_(std::is_sorted(order.begin(), order.end())) {
    const int64_t skills = static_cast<int64_t>(order.size());
    stage_ = register_module("stage", std::make_shared<LinearWeight>(map.stages, width));
    skill_ = register_module("skill", std::make_shared<LinearWeight>(skills, width));
    if (config_.shared_experts > 0) {
      shared_ = register_module("shared", std::make_shared<LinearWeight>(config_.shared_experts, width));
    }
    // A copy: moving this module must not move the caller's tensor.
    assignment_SE_ = register_buffer("assignment", map.assignment_SE.to(torch::kFloat32, false, true));
    const torch::Tensor order_S = torch::tensor(order, torch::kInt64).to(assignment_SE_.device());
    order_S_ = register_buffer("order", order_S);
    place_S_ = register_buffer("place", order_S.argsort());
  }

  Routing forward(const torch::Tensor& x_TD) override {
    const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
    Routing routing;
    routing.stage_logits_TG = linear_float32(x_TD, stage_->weight);
    routing.skill_logits_TS = skill_log_probabilities(x_TD, routing.stage_logits_TG->log_softmax(1));
    torch::Tensor p_TE = at::mm(routing.skill_logits_TS->exp(), assignment_SE_);
    if (config_.shared_experts > 0) {
      // softmax of (0, shared logits): the first share is the skills'.
      const torch::Tensor q = at::constant_pad_nd(linear_float32(x_TD, shared_->weight), {1, 0}).softmax(1);
      const int64_t serving = p_TE.size(1) - config_.shared_experts;
      p_TE = at::cat({p_TE.narrow(1, 0, serving) * q.narrow(1, 0, 1), q.narrow(1, 1, config_.shared_experts)}, 1);
    }
    routing.probabilities_TE = p_TE;
    routing.logits_TE = (p_TE + std::numeric_limits<float>::min()).log();
    choose_experts(routing, config_);
    return routing;
  }

  // Casting a model to bfloat16 casts the weights, but neither the assignment, whose rows must sum
  // to 1, nor the indices.
  void to(torch::Device device, torch::Dtype dtype, bool non_blocking) override {
    keep_types([&] { Router::to(device, dtype, non_blocking); });
  }
  void to(torch::Dtype dtype, bool non_blocking) override {
    keep_types([&] { Router::to(dtype, non_blocking); });
  }
  using Router::to;

 private:
  torch::Tensor skill_log_probabilities(const torch::Tensor& x_TD, const torch::Tensor& stage_TG) const {
    const torch::Tensor weight = in_order_ ? skill_->weight : skill_->weight.index_select(0, order_S_);
    std::vector<torch::Tensor> parts = linear_float32(x_TD, weight).split_with_sizes(skills_of_stage_, 1);
    for (size_t g = 0; g < parts.size(); ++g) {
      parts[g] = parts[g].log_softmax(1) + stage_TG.narrow(1, static_cast<int64_t>(g), 1);
    }
    const torch::Tensor joined_TS = at::cat(parts, 1);
    return in_order_ ? joined_TS : joined_TS.index_select(1, place_S_);
  }

  template <class Move>
  void keep_types(Move move) {
    const std::vector<torch::Tensor*> buffers{&assignment_SE_, &order_S_, &place_S_};
    std::vector<torch::Tensor> before;
    for (torch::Tensor* b : buffers) before.push_back(b->detach().clone());
    move();
    for (size_t i = 0; i < buffers.size(); ++i) buffers[i]->set_data(before[i].to(buffers[i]->device()));
  }

  Config config_;
  std::vector<int64_t> skills_of_stage_;
  bool in_order_;  // the skills already stand stage by stage
  std::shared_ptr<LinearWeight> stage_, skill_, shared_;
  torch::Tensor assignment_SE_, order_S_, place_S_;
};

}  // namespace

std::shared_ptr<Router> make_hierarchical_router(const Config& config, int64_t width, const SkillMap& map) {
  const torch::Tensor& a = map.assignment_SE;
  if (map.stages < 1 || !a.defined() || a.dim() != 2 || a.size(1) != config.experts || !map.skill_stage_S.defined() ||
      map.skill_stage_S.dim() != 1 || map.skill_stage_S.size(0) != a.size(0)) {
    throw UsageError(str("moe: hierarchical_skill needs a skill map with an assignment [skills, ", config.experts,
                         "] and one stage a skill; make it with make_skill_map from the same config"));
  }
  const torch::Tensor stage_S = map.skill_stage_S.to(torch::kCPU, torch::kInt64).contiguous();
  std::vector<int64_t> sizes(static_cast<size_t>(map.stages), 0), order;
  for (int64_t g = 0; g < map.stages; ++g) {
    for (int64_t s = 0; s < stage_S.size(0); ++s) {
      if (stage_S.const_data_ptr<int64_t>()[s] == g) order.push_back(s);
    }
    sizes[static_cast<size_t>(g)] = static_cast<int64_t>(order.size());
  }
  for (size_t g = sizes.size() - 1; g > 0; --g) sizes[g] -= sizes[g - 1];
  const auto empty = std::find(sizes.begin(), sizes.end(), 0);
  if (empty != sizes.end()) {
    throw UsageError(str("moe: hierarchical_skill: stage ", empty - sizes.begin(), " has no skills"));
  }
  if (static_cast<int64_t>(order.size()) != stage_S.size(0)) {
    throw UsageError(str("moe: hierarchical_skill: a skill has a stage outside 0 to ", map.stages - 1));
  }
  return std::make_shared<HierarchicalSkillRouter>(config, width, map, std::move(sizes), order);
}

}  // namespace mose::moe
