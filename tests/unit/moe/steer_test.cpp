#include <gtest/gtest.h>

#include "moe_test_util.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::largest_difference;
using testing::make_taxonomy;
using torch::Tensor;

constexpr int64_t kExperts = 5, kWidth = 16;

MoeLayer layer_of(int64_t top_k = 2) {
  torch::manual_seed(1);
  const Config config = config_of("hierarchical_skill", kExperts, top_k);
  return MoeLayer(config, kWidth, 24, make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2, 2, 2}, 3)));
}

TEST(Steer, WithoutAnythingGivenTheRouterDecides) {
  MoeLayer layer = layer_of();
  const Tensor x = torch::randn({30, kWidth});
  const RouteControl nothing{torch::zeros({30, kExperts}), -1};
  const auto [plain, plain_routing] = layer.forward(x);
  const auto [steered, routing] = layer.forward(x, &nothing);
  EXPECT_TRUE(torch::equal(plain_routing.experts_TK, routing.experts_TK));
  EXPECT_LT(largest_difference(plain, steered), 1e-6);
}

TEST(Steer, GivenRowsGoWhereTheyAreSentAndTheOthersWhereTheRouterSays) {
  MoeLayer layer = layer_of();
  const Tensor x = torch::randn({30, kWidth}), given = torch::zeros({30, kExperts});
  for (int64_t t = 0; t < 30; t += 3) {
    given[t][t % kExperts] = 0.75;
    given[t][(t + 2) % kExperts] = 0.25;
  }
  const RouteControl control{given, -1};
  const Routing own = layer.forward(x).second;
  const auto [y, routing] = layer.forward(x, &control);
  for (int64_t t = 0; t < 30; ++t) {
    if (t % 3 == 0) {
      EXPECT_EQ(routing.experts_TK[t][0].item<int64_t>(), t % kExperts);
      EXPECT_EQ(routing.experts_TK[t][1].item<int64_t>(), (t + 2) % kExperts);
      EXPECT_NEAR(routing.weights_TK[t][0].item<float>(), 0.75, 1e-6);
    } else {
      EXPECT_TRUE(torch::equal(routing.experts_TK[t], own.experts_TK[t])) << t;
      EXPECT_LT(largest_difference(routing.weights_TK[t], own.weights_TK[t]), 1e-6) << t;
    }
  }
  // What the router thinks is left to its losses.
  EXPECT_TRUE(torch::equal(routing.probabilities_TE, own.probabilities_TE));
}

TEST(Steer, NoRowGoesToARemovedExpert) {
  MoeLayer layer = layer_of();
  const Tensor x = torch::randn({60, kWidth});
  for (int64_t e = 0; e < kExperts; ++e) {
    // Also where all of a row's share was the removed expert's.
    const Tensor given = torch::zeros({60, kExperts});
    given[0][e] = 1;
    const RouteControl control{given, e};
    const Routing own = layer.forward(x).second, routing = layer.forward(x, &control).second;
    EXPECT_FALSE((routing.experts_TK == e).any().item<bool>());
    EXPECT_LT(largest_difference(routing.weights_TK.sum(1), torch::ones({60})), 1e-6);
    // Rows that did not use it are routed as before.
    const Tensor unused = ((own.experts_TK != e).all(1) & (torch::arange(60) > 0)).nonzero().squeeze(1);
    ASSERT_GT(unused.numel(), 0);
    EXPECT_TRUE(torch::equal(routing.experts_TK.index_select(0, unused), own.experts_TK.index_select(0, unused)));
  }
}

TEST(Steer, SaysWhatCannotBe) {
  MoeLayer all = layer_of(kExperts), some = layer_of();
  const Tensor x = torch::randn({4, kWidth});
  const RouteControl removed{{}, 1}, outside{{}, kExperts}, wrong{torch::zeros({3, kExperts}), -1};
  EXPECT_NE(message_of<Error>([&] { all.forward(x, &removed); }).find("needs 5 others"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { some.forward(x, &outside); }).find("without expert 5 of 5"), std::string::npos);
  EXPECT_NE(message_of<Error>([&] { some.forward(x, &wrong); }).find("expected [4, 5]"), std::string::npos);
}

}  // namespace
}  // namespace mose::moe
