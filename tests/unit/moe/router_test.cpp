#include <ATen/autocast_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe_test_util.h"
#include "mose/core/error.h"
#include "support/devices.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::largest_difference;
using testing::make_taxonomy;
using testing::Matrix;
using testing::multiply;
using testing::softmax;
using testing::to_matrix;
using ::testing::HasSubstr;

constexpr int64_t kWidth = 12;

// Routing by float64 loops from the expert probabilities.
void expect_choices(const Routing& routing, const Matrix& p, size_t top_k) {
  for (size_t t = 0; t < p.size(); ++t) {
    std::vector<size_t> order(p[t].size());
    for (size_t e = 0; e < order.size(); ++e) order[e] = e;
    std::stable_sort(order.begin(), order.end(), [&](size_t a, size_t b) { return p[t][a] > p[t][b]; });
    double sum = 0;
    for (size_t k = 0; k < top_k; ++k) sum += p[t][order[k]];
    for (size_t k = 0; k < top_k; ++k) {
      const int64_t row = static_cast<int64_t>(t), col = static_cast<int64_t>(k);
      EXPECT_EQ(routing.experts_TK[row][col].item<int64_t>(), static_cast<int64_t>(order[k]));
      EXPECT_NEAR(routing.weights_TK[row][col].item<double>(), p[t][order[k]] / sum, 1e-6);
    }
    for (size_t e = 0; e < p[t].size(); ++e) {
      EXPECT_NEAR(routing.probabilities_TE[static_cast<int64_t>(t)][static_cast<int64_t>(e)].item<double>(), p[t][e], 1e-6);
    }
  }
}

TEST(TopKRouter, ClosedFormForTwoExpertsOfThree) {
  auto router = make_router(config_of("topk", 3, 2), 1, {});
  const torch::NoGradGuard no_grad;
  router->parameters()[0].copy_(torch::tensor({{0.0f}, {std::log(2.0f)}, {std::log(5.0f)}}));
  const Routing r = router->forward(torch::ones({1, 1}));
  EXPECT_TRUE(torch::allclose(r.probabilities_TE, torch::tensor({{0.125f, 0.25f, 0.625f}})));
  EXPECT_TRUE(torch::equal(r.experts_TK, torch::tensor({{2, 1}}, torch::kInt64)));
  EXPECT_TRUE(torch::allclose(r.weights_TK, torch::tensor({{5.0f / 7, 2.0f / 7}})));
  EXPECT_FALSE(r.stage_logits_TG || r.skill_logits_TS || r.experts_taught);
}

TEST(PlainRouters, EqualALoopInFloat64) {
  for (const std::string name : {"topk", "skill"}) {
    torch::manual_seed(1);
    auto router = make_router(config_of(name, 7, 3), kWidth, {});
    ASSERT_EQ(router->named_parameters().keys(), std::vector<std::string>{"weight"});
    const torch::Tensor x = torch::randn({20, kWidth}) * 3;
    const Routing r = router->forward(x);
    Matrix p = multiply(to_matrix(x), to_matrix(router->parameters()[0]));
    for (auto& row : p) row = softmax(row);
    expect_choices(r, p, 3);
    EXPECT_EQ(r.experts_taught, name == "skill");
  }
}

class HierarchicalSkillRouter : public ::testing::Test {
 protected:
  // Skills not in order of stages, several skills on one expert, one skill on two.
  const std::vector<int64_t> stage_{0, 2, 0, 1, 1, 2, 0};
  SkillMap map(int64_t shared) const {
    Config config = config_of("hierarchical_skill", 5 + shared, 2, shared);
    config.assignment = "table";
    config.table = Json{{"s0", {0}}, {"s1", {4}}, {"s2", {1, 2}}, {"s3", {3}}, {"s4", {3, 0}}, {"s5", {4}}, {"s6", {1}}};
    return make_skill_map(config, make_taxonomy(stage_, 3));
  }
};

TEST_F(HierarchicalSkillRouter, FewRowsWithoutGradientAreRoutedAsWithIt) {
  for (const int64_t shared : {0, 2}) {
    torch::manual_seed(9);
    auto router = make_router(config_of("hierarchical_skill", 5 + shared, 2, shared), kWidth, map(shared));
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
      router->to(type);
      const torch::Tensor x = (2 * torch::randn({6, kWidth})).to(type);
      const Routing with = router->forward(x);
      const torch::NoGradGuard no_grad;
      const Routing without = router->forward(x);
      EXPECT_TRUE(with.weights_TK.requires_grad());
      EXPECT_TRUE(torch::equal(with.experts_TK, without.experts_TK));
      for (const auto& [a, b] : {std::pair(with.weights_TK, without.weights_TK), std::pair(with.probabilities_TE, without.probabilities_TE),
                                 std::pair(with.logits_TE, without.logits_TE), std::pair(*with.stage_logits_TG, *without.stage_logits_TG),
                                 std::pair(*with.skill_logits_TS, *without.skill_logits_TS)}) {
        EXPECT_TRUE(torch::allclose(a, b, 1e-5, 1e-5)) << a << b;
      }
    }
  }
}

TEST_F(HierarchicalSkillRouter, ExpertProbabilityIsStageTimesSkillTimesAssignment) {
  torch::manual_seed(2);
  const SkillMap m = map(0);
  auto router = make_router(config_of("hierarchical_skill", 5, 2), kWidth, m);
  const auto weights = router->named_parameters();
  ASSERT_EQ(weights.keys(), (std::vector<std::string>{"stage.weight", "skill.weight"}));
  const torch::Tensor x = torch::randn({30, kWidth}) * 4;
  const Routing r = router->forward(x);
  const Matrix stage = multiply(to_matrix(x), to_matrix(weights["stage.weight"]));
  const Matrix skill = multiply(to_matrix(x), to_matrix(weights["skill.weight"]));
  const Matrix a = to_matrix(m.assignment_SE);
  Matrix p(30, std::vector<double>(5, 0.0));
  for (size_t t = 0; t < 30; ++t) {
    const auto p_stage = softmax(stage[t]);
    for (size_t s = 0; s < 7; ++s) {
      double sum = 0;
      for (size_t other = 0; other < 7; ++other) {
        if (stage_[other] == stage_[s]) sum += std::exp(skill[t][other]);
      }
      const double p_skill = p_stage[static_cast<size_t>(stage_[s])] * std::exp(skill[t][s]) / sum;
      EXPECT_NEAR((*r.skill_logits_TS)[static_cast<int64_t>(t)][static_cast<int64_t>(s)].item<double>(), std::log(p_skill), 1e-4);
      for (size_t e = 0; e < 5; ++e) p[t][e] += p_skill * a[s][e];
    }
  }
  expect_choices(r, p, 2);
  EXPECT_TRUE(torch::allclose(r.probabilities_TE.sum(1), torch::ones({30})));
  EXPECT_TRUE(torch::allclose(r.logits_TE.exp(), r.probabilities_TE));
  EXPECT_TRUE(torch::allclose(*r.stage_logits_TG, torch::mm(x, weights["stage.weight"].t()), 1e-4, 1e-5));
}

TEST_F(HierarchicalSkillRouter, SharedExpertsTakeTheirShareFromTheSkills) {
  torch::manual_seed(3);
  auto plain = make_router(config_of("hierarchical_skill", 5, 2), kWidth, map(0));
  auto shared = make_router(config_of("hierarchical_skill", 7, 2, 2), kWidth, map(2));
  {
    const torch::NoGradGuard no_grad;
    for (const auto& item : plain->named_parameters()) shared->named_parameters()[item.key()].copy_(item.value());
  }
  const torch::Tensor x = torch::randn({30, kWidth});
  const Routing r = shared->forward(x), without = plain->forward(x);
  const Matrix logits = multiply(to_matrix(x), to_matrix(shared->named_parameters()["shared.weight"]));
  Matrix p = to_matrix(without.probabilities_TE);
  for (size_t t = 0; t < p.size(); ++t) {
    const auto q = softmax({0.0, logits[t][0], logits[t][1]});
    for (double& v : p[t]) v *= q[0];
    p[t].push_back(q[1]);
    p[t].push_back(q[2]);
  }
  expect_choices(r, p, 2);
  // What is taught is untouched by the shared experts.
  EXPECT_TRUE(torch::equal(*r.skill_logits_TS, *without.skill_logits_TS));
}

TEST_F(HierarchicalSkillRouter, FarApartLogitsStayFinite) {
  auto router = make_router(config_of("hierarchical_skill", 5, 2), kWidth, map(0));
  const Routing r = router->forward(torch::randn({10, kWidth}) * 1e4);
  EXPECT_TRUE(torch::isfinite(r.logits_TE).all().item<bool>());
  EXPECT_TRUE(torch::isfinite(*r.skill_logits_TS).all().item<bool>());
  EXPECT_TRUE(torch::allclose(r.probabilities_TE.sum(1), torch::ones({10})));
  (r.weights_TK * torch::randn({10, 2})).sum().backward();
  for (const auto& w : router->parameters()) EXPECT_TRUE(torch::isfinite(w.grad()).all().item<bool>());
}

TEST_F(HierarchicalSkillRouter, CastingTheModelKeepsTheAssignment) {
  const SkillMap m = map(0);
  auto router = make_router(config_of("hierarchical_skill", 5, 2), kWidth, m);
  router->to(torch::kBFloat16);
  EXPECT_EQ(router->parameters()[0].scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(torch::equal(router->named_buffers()["assignment"], m.assignment_SE));
  const Routing r = router->forward(torch::randn({10, kWidth}).to(torch::kBFloat16));
  EXPECT_TRUE(torch::allclose(r.probabilities_TE.sum(1), torch::ones({10})));
  router->to(torch::kFloat64);
  router->to(torch::kFloat32);
  EXPECT_TRUE(torch::equal(router->named_buffers()["assignment"], m.assignment_SE));
  EXPECT_EQ(m.assignment_SE.scalar_type(), torch::kFloat32);
}

TEST_F(HierarchicalSkillRouter, ASkillMapThatDoesNotFitIsRefused) {
  EXPECT_THROW(make_router(config_of("hierarchical_skill", 5, 2), kWidth, {}), UsageError);
  EXPECT_THROW(make_router(config_of("hierarchical_skill", 6, 2), kWidth, map(0)), UsageError);
  SkillMap more_stages = map(0);
  more_stages.stages = 4;
  EXPECT_THROW(make_router(config_of("hierarchical_skill", 5, 2), kWidth, more_stages), UsageError);
  more_stages.stages = 2;
  EXPECT_THROW(make_router(config_of("hierarchical_skill", 5, 2), kWidth, more_stages), UsageError);
}

TEST_F(HierarchicalSkillRouter, EveryWeightGetsGradientFromTheMixingWeights) {
  torch::manual_seed(5);
  auto router = make_router(config_of("hierarchical_skill", 7, 2, 2), kWidth, map(2));
  const Routing r = router->forward(torch::randn({40, kWidth}));
  (r.weights_TK * torch::randn({40, 2})).sum().backward();
  for (const auto& item : router->named_parameters()) {
    EXPECT_GT(item.value().grad().abs().sum().item<double>(), 0) << item.key();
  }
}

// Values and gradients, the losses' through logits and probabilities and the layer's through the weights.
class RoutersOnDevice : public OnDevice {};
MOSE_ON_DEVICES(RoutersOnDevice);

TEST_P(RoutersOnDevice, EqualTheCpusOperations) {
  const SkillMap map = make_skill_map(config_of("hierarchical_skill", 5, 3), make_taxonomy({0, 1, 1, 0, 1}, 2));
  for (const std::string& name : router_names()) {
    SCOPED_TRACE(name);
    torch::manual_seed(9);
    const Config config = config_of(name, 5, name == "deepspeed095" ? 2 : 3);
    auto exact = make_router(config, kWidth, map), ours = make_router(config, kWidth, map);
    {
      const torch::NoGradGuard no_grad;
      for (auto& item : exact->named_parameters()) ours->named_parameters()[item.key()].copy_(item.value());
    }
    exact->to(torch::kFloat64);
    ours->to(device());
    const torch::Tensor x = 2 * torch::randn({50, kWidth}), a = torch::randn({50, config.top_k}), b = torch::randn({50, 5});
    const auto gradients = [&](Router& router) {
      const torch::Tensor x_here = x.to(router.parameters()[0].device());
      const Routing r = router.forward(x_here);
      const auto total = (r.weights_TK * a.to(x_here.device())).sum() + (r.probabilities_TE * b.to(x_here.device())).sum() +
                         r.logits_TE.logsumexp(1).square().mean();
      auto out = torch::autograd::grad({total}, router.parameters());
      out.push_back(r.experts_TK);
      out.push_back(r.weights_TK.detach());
      for (torch::Tensor& t : out) t = t.cpu();
      return out;
    };
    const auto want = gradients(*exact), found = gradients(*ours), again = gradients(*ours);
    for (size_t i = 0; i < want.size(); ++i) {
      EXPECT_LT(largest_difference(found[i], want[i]) / std::max(1.0, want[i].abs().max().item<double>()), 1e-5) << i;
      EXPECT_TRUE(torch::equal(found[i], again[i])) << i;
    }
  }
}

TEST(Routers, ComputeInFloat32WhateverComesIn) {
  const SkillMap map = make_skill_map(config_of("hierarchical_skill", 3, 2), make_taxonomy({0, 1, 1}, 2));
  for (const std::string& name : router_names()) {
    SCOPED_TRACE(name);
    torch::manual_seed(6);
    auto router = make_router(config_of(name, 3, 2), 64, map);
    const torch::Tensor x = torch::randn({16, 64}).to(torch::kBFloat16);
    const Routing exact = router->forward(x.to(torch::kFloat32));
    const Routing half = router->forward(x);
    EXPECT_EQ(half.logits_TE.scalar_type(), torch::kFloat32);
    EXPECT_TRUE(torch::equal(half.logits_TE, exact.logits_TE));
    at::autocast::set_autocast_enabled(at::kCPU, true);
    const Routing cast = router->forward(x.to(torch::kFloat32));
    at::autocast::set_autocast_enabled(at::kCPU, false);
    at::autocast::clear_cache();
    EXPECT_TRUE(torch::equal(cast.logits_TE, exact.logits_TE));
    EXPECT_EQ(cast.weights_TK.scalar_type(), torch::kFloat32);
  }
}

TEST(Routers, StartUniformWithinOneOverSquareRootOfWidth) {
  torch::manual_seed(7);
  auto router = make_router(config_of("topk", 64, 2), 100, {});
  const torch::Tensor w = router->parameters()[0];
  EXPECT_LE(w.abs().max().item<double>(), 0.1);
  EXPECT_NEAR(w.std().item<double>(), 0.1 / std::sqrt(3.0), 0.002);
}

TEST(Routers, UnknownNamesListTheKnown) {
  try {
    make_router(config_of("best", 3, 2), 4, {});
    FAIL();
  } catch (const UsageError& e) {
    EXPECT_THAT(e.what(), HasSubstr("topk, skill, hierarchical_skill"));
  }
}

}  // namespace
}  // namespace mose::moe
