#include <gtest/gtest.h>

#include <limits>

#include "moe_test_util.h"
#include "mose/core/error.h"
#include "mose/moe/losses.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::make_taxonomy;
using testing::Matrix;
using testing::to_matrix;
using torch::Tensor;

struct Choice {
  std::vector<int64_t> experts{0, 0};
  std::vector<double> weights{0, 0};
};

// The gate without noise, token by token in plain loops.
std::vector<Choice> reference(const Matrix& logits, int64_t capacity) {
  const size_t tokens = logits.size(), experts = logits[0].size();
  std::vector<Choice> out(tokens);
  Matrix p;
  for (size_t t = 0; t < tokens; ++t) {
    p.push_back(testing::softmax(logits[t]));
    for (size_t e = 1; e < experts; ++e) {
      if (logits[t][e] > logits[t][static_cast<size_t>(out[t].experts[0])]) out[t].experts[0] = static_cast<int64_t>(e);
    }
    double best = -std::numeric_limits<double>::infinity();
    for (size_t e = 0; e < experts; ++e) {
      if (static_cast<int64_t>(e) == out[t].experts[0] || logits[t][e] <= best) continue;
      best = logits[t][e];
      out[t].experts[1] = static_cast<int64_t>(e);
    }
  }
  std::vector<int64_t> queue(experts, 0);
  for (size_t k = 0; k < 2; ++k) {  // all first choices queue before all second ones
    for (size_t t = 0; t < tokens; ++t) {
      const auto e = static_cast<size_t>(out[t].experts[k]);
      if (queue[e]++ < capacity) out[t].weights[k] = p[t][e];
    }
  }
  for (Choice& c : out) {
    const double sum = c.weights[0] + c.weights[1];
    for (double& w : c.weights) w = sum > 0 ? w / sum : 0;
  }
  return out;
}

Config gate_config(double factor, int64_t minimum = 0) {
  Config config = config_of("deepspeed095", 4, 2);
  config.capacity_factor = factor;
  config.min_capacity = minimum;
  return config;
}

std::shared_ptr<Router> router_of(const Config& config) {
  torch::manual_seed(5);
  return make_router(config, 6, make_skill_map(config, make_taxonomy({0, 1, 2}, 3)));
}

TEST(DeepSpeedGate, EqualsAPlainLoopWithAndWithoutDrops) {
  const Tensor x = torch::randn({37, 6});
  for (const auto& [factor, minimum, capacity] : {std::tuple(1.5, 0, 28), std::tuple(0.5, 0, 10), std::tuple(0.1, 4, 4)}) {
    auto router = router_of(gate_config(factor, minimum));
    const Routing routing = router->forward(x);
    const auto want = reference(to_matrix(routing.logits_TE), capacity);
    int64_t dropped = 0;
    for (int64_t t = 0; t < 37; ++t) {
      for (int64_t k = 0; k < 2; ++k) {
        const Choice& choice = want[static_cast<size_t>(t)];
        EXPECT_EQ(routing.experts_TK[t][k].item<int64_t>(), choice.experts[static_cast<size_t>(k)]);
        EXPECT_NEAR(routing.weights_TK[t][k].item<double>(), choice.weights[static_cast<size_t>(k)], 1e-6) << t << " " << k;
        dropped += choice.weights[static_cast<size_t>(k)] == 0;
      }
    }
    EXPECT_EQ(dropped > 0, capacity < 28) << capacity;
  }
}

TEST(DeepSpeedGate, BalanceCountsFirstChoices) {
  const Config config = gate_config(2);
  auto router = router_of(config);
  const Routing routing = router->forward(torch::randn({50, 6}));
  const auto p = to_matrix(routing.probabilities_TE);
  std::vector<double> mean(4, 0), share(4, 0);
  for (size_t t = 0; t < 50; ++t) {
    share[static_cast<size_t>(std::max_element(p[t].begin(), p[t].end()) - p[t].begin())] += 1 / 50.0;
    for (size_t e = 0; e < 4; ++e) mean[e] += p[t][e] / 50.0;
  }
  double want = 0;
  for (size_t e = 0; e < 4; ++e) want += 4 * mean[e] * share[e];
  const auto losses = router_losses(routing, {}, make_skill_map(config, make_taxonomy({0, 1, 2}, 3)));
  EXPECT_NEAR(losses.balance.item<double>(), want, 1e-5);
}

TEST(DeepSpeedGate, NoiseMovesSecondChoicesAndRepeats) {
  Config config = gate_config(2);
  config.gate_noise = true;
  config.gate_seed = 11;
  const Tensor x = torch::randn({400, 6});
  auto noisy = router_of(config);
  const Routing a = noisy->forward(x), b = noisy->forward(x), quiet = router_of(gate_config(2))->forward(x);
  EXPECT_TRUE(torch::equal(a.experts_TK, b.experts_TK));
  EXPECT_TRUE(torch::equal(a.experts_TK.select(1, 0), quiet.experts_TK.select(1, 0)));
  EXPECT_FALSE(torch::equal(a.experts_TK, quiet.experts_TK));
  // Gumbel-max: a second expert is drawn with probability p_e / (1 - p_first).
  const Tensor p = quiet.probabilities_TE.scatter(1, quiet.experts_TK.narrow(1, 0, 1), 0.0);
  const double expected = (p / p.sum(1, true)).gather(1, quiet.experts_TK.narrow(1, 1, 1)).mean().item<double>();
  const double kept = (a.experts_TK.select(1, 1) == quiet.experts_TK.select(1, 1)).to(torch::kFloat32).mean().item<double>();
  EXPECT_NEAR(kept, expected, 0.1);
}

TEST(DeepSpeedGate, IsATopTwoGate) {
  Config config = gate_config(2);
  config.top_k = 1;
  EXPECT_THROW(check_config(config), UsageError);
}

}  // namespace
}  // namespace mose::moe
