#include <algorithm>
#include <cmath>
#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "moe/router_parts.h"

namespace mose::moe {
namespace {

constexpr int64_t kFewRows = 16;

// log(sum_i e^value(i)) of i in [0, n).
template <class Value>
float log_sum_exp(int64_t n, const Value& value) {
  float top = value(0), sum = 0;
  for (int64_t i = 1; i < n; ++i) top = std::max(top, value(i));
  for (int64_t i = 0; i < n; ++i) sum += std::exp(value(i) - top);
  return top + std::log(sum);
}

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
    if (x_TD.is_cpu() && x_TD.size(0) <= kFewRows && !nn::needs_gradient(x_TD, stage_->weight, skill_->weight, shared_ ? shared_->weight : x_TD)) {
      route_few_rows(x_TD, routing);
      choose_experts(routing, config_);
      return routing;
    }
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
  // The same as forward() in plain loops over rows, without gradient.
  void route_few_rows(const torch::Tensor& x_TD, Routing& routing) const {
    const int64_t tokens = x_TD.size(0), S = assignment_SE_.size(0), E = assignment_SE_.size(1), H = config_.shared_experts;
    const int64_t G = static_cast<int64_t>(skills_of_stage_.size());
    routing.stage_logits_TG = linear_float32(x_TD, stage_->weight);
    const torch::Tensor raw_TS = linear_float32(x_TD, skill_->weight);
    const torch::Tensor shared_TH = H > 0 ? linear_float32(x_TD, shared_->weight) : torch::Tensor();
    routing.skill_logits_TS = nn::empty({tokens, S}, raw_TS.options());
    routing.probabilities_TE = nn::empty({tokens, E}, raw_TS.options());
    routing.logits_TE = nn::empty({tokens, E}, raw_TS.options());
    const auto* order = order_S_.const_data_ptr<int64_t>();
    const auto* assignment = assignment_SE_.const_data_ptr<float>();
    for (int64_t t = 0; t < tokens; ++t) {
      const float* stage = routing.stage_logits_TG->const_data_ptr<float>() + t * G;
      const float* raw = raw_TS.const_data_ptr<float>() + t * S;
      float* skill = routing.skill_logits_TS->mutable_data_ptr<float>() + t * S;
      float* p = routing.probabilities_TE.mutable_data_ptr<float>() + t * E;
      float* logits = routing.logits_TE.mutable_data_ptr<float>() + t * E;
      std::fill(p, p + E, 0.0f);
      const float stages = log_sum_exp(G, [&](int64_t g) { return stage[g]; });
      for (int64_t g = 0, at = 0; g < G; at += skills_of_stage_[static_cast<size_t>(g++)]) {
        const int64_t count = skills_of_stage_[static_cast<size_t>(g)];
        const float within = log_sum_exp(count, [&](int64_t i) { return raw[order[at + i]]; });
        for (int64_t i = 0; i < count; ++i) {
          const int64_t s = order[at + i];
          skill[s] = raw[s] - within + stage[g] - stages;
          const float p_skill = std::exp(skill[s]);
          for (int64_t e = 0; e < E; ++e) p[e] += p_skill * assignment[s * E + e];
        }
      }
      if (H > 0) {  // softmax of (0, shared logits): the first share is the skills'
        const float* shared = shared_TH.const_data_ptr<float>() + t * H;
        const float all = log_sum_exp(H + 1, [&](int64_t h) { return h == 0 ? 0.0f : shared[h - 1]; });
        for (int64_t e = 0; e < E - H; ++e) p[e] *= std::exp(-all);
        for (int64_t h = 0; h < H; ++h) p[E - H + h] = std::exp(shared[h] - all);
      }
      for (int64_t e = 0; e < E; ++e) logits[e] = std::log(p[e] + std::numeric_limits<float>::min());
    }
  }

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
