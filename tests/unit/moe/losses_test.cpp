#include "mose/moe/losses.h"

#include <gtest/gtest.h>

#include "moe_test_util.h"
#include "mose/core/error.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::make_taxonomy;
using testing::Matrix;
using testing::softmax;
using testing::to_matrix;
using torch::Tensor;

// A routing made of given logits, as the plain routers make it.
Routing plain_routing(const Tensor& logits, int64_t k) {
  Routing r;
  r.logits_TE = logits;
  r.probabilities_TE = logits.softmax(1);
  const auto [p, e] = r.probabilities_TE.topk(k, 1);
  r.experts_TK = e;
  r.weights_TK = p / p.sum(1, true);
  return r;
}

RouterLabels random_labels(int64_t tokens, int64_t stages, int64_t skills) {
  RouterLabels l;
  l.stage_TG = torch::rand({tokens, stages}).softmax(1);
  l.skill_TS = (torch::randn({tokens, skills}) * 3).softmax(1);
  l.stage_weight_T = torch::rand({tokens}) * (torch::rand({tokens}) > 0.3);
  l.skill_weight_T = torch::rand({tokens}) * (torch::rand({tokens}) > 0.5);
  return l;
}

// sum w CE / sum w by loops, from log probabilities.
double mean_cross_entropy(const Matrix& log_p, const Matrix& labels, const Tensor& weight) {
  double sum = 0, total = 0;
  for (size_t t = 0; t < log_p.size(); ++t) {
    const double w = weight[static_cast<int64_t>(t)].item<double>();
    for (size_t c = 0; c < log_p[t].size(); ++c) sum -= w * labels[t][c] * log_p[t][c];
    total += w;
  }
  return sum / total;
}

TEST(BalanceLoss, IsOneWhenEvenAndEWhenCollapsed) {
  // Token t prefers expert t, by nearly everything.
  const Routing even = plain_routing(torch::eye(4) * 50, 1);
  EXPECT_NEAR(router_losses(even, {}, {}).balance.item<double>(), 1.0, 1e-6);
  Tensor one = torch::zeros({6, 4});
  one.select(1, 2).fill_(50);
  EXPECT_NEAR(router_losses(plain_routing(one, 1), {}, {}).balance.item<double>(), 4.0, 1e-6);
}

TEST(BalanceAndZLoss, EqualLoops) {
  torch::manual_seed(1);
  const Tensor logits = torch::randn({33, 5}) * 2;
  const RouterLosses losses = router_losses(plain_routing(logits, 2), {}, {});
  const Matrix l = to_matrix(logits);
  std::vector<double> share(5, 0), mean(5, 0);
  double z = 0;
  for (const auto& row : l) {
    const auto p = softmax(row);
    const size_t first = static_cast<size_t>(std::max_element(row.begin(), row.end()) - row.begin());
    size_t second = first == 0 ? 1 : 0;
    for (size_t e = 0; e < 5; ++e) {
      mean[e] += p[e] / 33;
      if (e != first && row[e] > row[second]) second = e;
    }
    share[first] += 1.0 / 66;
    share[second] += 1.0 / 66;
    double sum = 0;
    for (const double v : row) sum += std::exp(v);
    z += std::log(sum) * std::log(sum) / 33;
  }
  double balance = 0;
  for (size_t e = 0; e < 5; ++e) balance += 5 * share[e] * mean[e];
  EXPECT_NEAR(losses.balance.item<double>(), balance, 1e-6);
  EXPECT_NEAR(losses.z.item<double>(), z, 1e-5);
  EXPECT_EQ(losses.stage.item<double>(), 0);
  EXPECT_EQ(losses.skill.item<double>(), 0);
}

TEST(HierarchicalLosses, AreWeightedMeanCrossEntropies) {
  torch::manual_seed(2);
  const Config config = config_of("hierarchical_skill", 4, 2, 1);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  auto router = make_router(config, 8, map);
  const Routing r = router->forward(torch::randn({50, 8}) * 2);
  const RouterLabels labels = random_labels(50, 3, 5);
  const RouterLosses losses = router_losses(r, labels, map);
  Matrix stage = to_matrix(*r.stage_logits_TG);
  double z = 0;
  for (auto& row : stage) {
    double sum = 0;
    for (const double v : row) sum += std::exp(v);
    z += std::log(sum) * std::log(sum) / 50;
    row = softmax(row);
    for (double& v : row) v = std::log(v);
  }
  EXPECT_NEAR(losses.stage.item<double>(), mean_cross_entropy(stage, to_matrix(labels.stage_TG), labels.stage_weight_T), 1e-5);
  EXPECT_NEAR(losses.skill.item<double>(),
              mean_cross_entropy(to_matrix(*r.skill_logits_TS), to_matrix(labels.skill_TS), labels.skill_weight_T), 1e-5);
  EXPECT_NEAR(losses.z.item<double>(), z, 1e-5);
  EXPECT_NEAR(losses.stage_weight.item<double>(), labels.stage_weight_T.sum().item<double>(), 1e-5);
  EXPECT_NEAR(losses.skill_weight.item<double>(), labels.skill_weight_T.sum().item<double>(), 1e-5);
}

TEST(SkillRouterLoss, IsAgainstTheExpertsOfTheSkillsAndLeavesSharedExpertsFree) {
  torch::manual_seed(3);
  const Config config = config_of("skill", 5, 2, 1);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  Routing r = plain_routing((torch::randn({50, 5}) * 2).requires_grad_(), 2);
  r.experts_taught = true;
  const RouterLabels labels = random_labels(50, 3, 5);
  const RouterLosses losses = router_losses(r, labels, map);
  Matrix log_p = to_matrix(r.logits_TE), target(50, std::vector<double>(4, 0.0));
  const Matrix skill = to_matrix(labels.skill_TS), a = to_matrix(map.assignment_SE);
  for (size_t t = 0; t < 50; ++t) {
    log_p[t].pop_back();  // the shared expert is the last
    log_p[t] = softmax(log_p[t]);
    for (double& v : log_p[t]) v = std::log(v);
    for (size_t s = 0; s < 5; ++s) {
      for (size_t e = 0; e < 4; ++e) target[t][e] += skill[t][s] * a[s][e];
    }
  }
  EXPECT_NEAR(losses.skill.item<double>(), mean_cross_entropy(log_p, target, labels.skill_weight_T), 1e-5);
  EXPECT_EQ(losses.stage.item<double>(), 0);
  const Tensor grad = torch::autograd::grad({losses.skill}, {r.logits_TE})[0];
  EXPECT_EQ(grad.select(1, 4).abs().sum().item<double>(), 0);
  EXPECT_GT(grad.select(1, 0).abs().sum().item<double>(), 0);
}

TEST(RouterLosses, PlainTopKIsNotTaught) {
  const SkillMap map = make_skill_map(config_of("topk", 5, 2), make_taxonomy({0, 0, 1, 1, 2}, 3));
  const RouterLosses losses = router_losses(plain_routing(torch::randn({9, 5}), 2), random_labels(9, 3, 5), map);
  EXPECT_EQ(losses.stage.item<double>(), 0);
  EXPECT_EQ(losses.skill.item<double>(), 0);
}

TEST(RouterLosses, OnlyTheLevelsAskedForAreComputed) {
  const Config config = config_of("hierarchical_skill", 4, 2);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  const Routing r = make_router(config, 8, map)->forward(torch::randn({20, 8}));
  RouterLabels labels = random_labels(20, 3, 5);
  labels.stage_weight_T.fill_(1);
  labels.skill_weight_T.fill_(1);
  const RouterLosses stage = router_losses(r, labels, map, {true, false});
  EXPECT_GT(stage.stage.item<double>(), 0);
  EXPECT_EQ(stage.skill.item<double>(), 0);
  const RouterLosses skill = router_losses(r, labels, map, {false, true});
  EXPECT_EQ(skill.stage.item<double>(), 0);
  EXPECT_GT(skill.skill.item<double>(), 0);
}

TEST(RouterLosses, WithoutLabelsAreZeroAndCarryNoNaN) {
  const Config config = config_of("hierarchical_skill", 4, 2);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  auto router = make_router(config, 8, map);
  RouterLabels labels = random_labels(20, 3, 5);
  for (Tensor* t : {&labels.stage_TG, &labels.stage_weight_T, &labels.skill_TS, &labels.skill_weight_T}) t->zero_();
  const RouterLosses losses = router_losses(router->forward(torch::randn({20, 8})), labels, map);
  EXPECT_EQ(losses.stage.item<double>(), 0);
  EXPECT_EQ(losses.skill.item<double>(), 0);
  (losses.stage + losses.skill + losses.balance + losses.z).backward();
  for (const auto& w : router->parameters()) {
    // The per-stage skill logits enter the balance loss through the probabilities.
    EXPECT_TRUE(torch::isfinite(w.grad()).all().item<bool>());
  }
  const RouterLosses none = router_losses(router->forward(torch::randn({0, 8})), {}, map);
  EXPECT_EQ((none.balance + none.z + none.stage + none.skill).item<double>(), 0);
}

TEST(RouterLosses, RowsOfWeightZeroHaveNoInfluence) {
  torch::manual_seed(4);
  const Config config = config_of("hierarchical_skill", 4, 2);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  auto router = make_router(config, 8, map);
  const Routing r = router->forward(torch::randn({20, 8}));
  RouterLabels labels = random_labels(20, 3, 5);
  labels.stage_weight_T.narrow(0, 0, 10).zero_();
  const double before = router_losses(r, labels, map).stage.item<double>();
  labels.stage_TG.narrow(0, 0, 10).uniform_();
  EXPECT_EQ(router_losses(r, labels, map).stage.item<double>(), before);
}

TEST(RouterLosses, LabelsOfAnotherShapeAreRefused) {
  const Config config = config_of("hierarchical_skill", 4, 2);
  const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
  const Routing r = make_router(config, 8, map)->forward(torch::randn({20, 8}));
  EXPECT_THROW(router_losses(r, random_labels(19, 3, 5), map), Error);
  EXPECT_THROW(router_losses(r, random_labels(20, 2, 5), map), Error);
  EXPECT_THROW(router_losses(r, random_labels(20, 3, 6), map), Error);
}

// Gradient descent on the skill loss alone brings tokens to the experts of their skills.
TEST(RouterLosses, TeachTheRouter) {
  for (const std::string name : {"skill", "hierarchical_skill"}) {
    torch::manual_seed(5);
    const Config config = config_of(name, 5, 1);
    const SkillMap map = make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3));
    auto router = make_router(config, 16, map);
    const Tensor skill = torch::randint(0, 5, {200});
    const Tensor x = torch::randn({5, 16}).index_select(0, skill) + 0.2 * torch::randn({200, 16});
    RouterLabels labels;
    labels.skill_TS = torch::one_hot(skill, 5).to(torch::kFloat32);
    labels.skill_weight_T = torch::ones({200});
    torch::optim::Adam adam(router->parameters(), torch::optim::AdamOptions(0.05));
    for (int step = 0; step < 60; ++step) {
      adam.zero_grad();
      router_losses(router->forward(x), labels, map).skill.backward();
      adam.step();
    }
    const Tensor chosen = router->forward(x).experts_TK.select(1, 0);
    EXPECT_GT((chosen == map.assignment_SE.argmax(1).index_select(0, skill)).to(torch::kFloat64).mean().item<double>(), 0.97) << name;
  }
}

}  // namespace
}  // namespace mose::moe
