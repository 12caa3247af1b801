#include "mose/nn/lora.h"

#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/nn/layers.h"
#include "support/helpers.h"

namespace mose::nn {
namespace {

using torch::Tensor;

LoraConfig config_of(std::vector<std::string> targets, int64_t rank = 2) {
  LoraConfig config;
  config.rank = rank;
  config.alpha = 3;
  config.targets = std::move(targets);
  return config;
}

// Frozen, and adapters as after some training.
Adapters attach_trained(torch::nn::Module& module, const LoraConfig& config) {
  for (auto& p : module.parameters()) p.set_requires_grad(false);
  auto adapters = attach_lora(module, config, 1);
  const torch::NoGradGuard no_grad;
  for (auto& [name, lora] : adapters) lora->B.normal_();
  return adapters;
}

TEST(Lora, EqualsTheFormulaInAPlainLoop) {
  torch::manual_seed(3);
  auto linear = std::make_shared<Linear>(5, 4, true);
  linear->to(torch::kFloat64);
  const Tensor x = torch::randn({2, 3, 5}, torch::kFloat64);
  const auto lora = attach_trained(*linear, config_of({"*"}))[""];
  ASSERT_EQ(lora->A.scalar_type(), torch::kFloat64);
  const Tensor y = linear->forward(x);
  const auto at = [](const Tensor& t, int64_t i, int64_t j) { return t[i][j].item<double>(); };
  for (int64_t b = 0; b < 2; ++b) {
    for (int64_t t = 0; t < 3; ++t) {
      for (int64_t o = 0; o < 4; ++o) {
        double want = linear->bias[o].item<double>();
        for (int64_t i = 0; i < 5; ++i) {
          double weight = at(linear->weight, o, i);
          for (int64_t r = 0; r < 2; ++r) weight += 3.0 / 2 * at(lora->B, o, r) * at(lora->A, r, i);
          want += weight * x[b][t][i].item<double>();
        }
        EXPECT_NEAR(y[b][t][o].item<double>(), want, 1e-12);
      }
    }
  }
}

TEST(Lora, AttachingChangesNoBit) {
  torch::manual_seed(3);
  auto ffn = std::make_shared<SwiGlu>(24, 40);
  const Tensor x = torch::randn({9, 24});
  const Tensor before = ffn->forward(x).detach();
  EXPECT_EQ(attach_lora(*ffn, config_of({"*"}), 1).size(), 3u);
  EXPECT_TRUE(torch::equal(ffn->forward(x), before));
}

TEST(Lora, ASeedDrawsTheSameAdapterWithinItsBound) {
  auto linear = std::make_shared<Linear>(16, 4, false);
  const Tensor a = attach_lora(*linear, config_of({"*"}), 1)[""]->A.detach();
  EXPECT_LE(a.abs().max().item<double>(), 0.25);
  EXPECT_GT(a.abs().max().item<double>(), 0.15);
  EXPECT_TRUE(torch::equal(attach_lora(*linear, config_of({"*"}), 1)[""]->A, a));
  EXPECT_FALSE(torch::equal(attach_lora(*linear, config_of({"*"}), 2)[""]->A, a));
}

// The same function with W + scale B A written out, under autograd.
TEST(Lora, OnlyAdaptersHaveGradientsAndTheyAreThoseOfTheMergedWeight) {
  torch::manual_seed(3);
  auto ffn = std::make_shared<SwiGlu>(6, 10);
  ffn->to(torch::kFloat64);
  const Tensor x = torch::randn({7, 6}, torch::kFloat64), grad = torch::randn({7, 6}, torch::kFloat64);
  auto adapters = attach_trained(*ffn, config_of({"gate_proj", "down_proj"}));
  ffn->forward(x).backward(grad);
  for (const auto& p : ffn->parameters()) EXPECT_FALSE(p.grad().defined());
  const auto& gate = *adapters["gate_proj"];
  const auto& down = *adapters["down_proj"];
  const auto merged = [](const Tensor& w, const Lora& l) { return w + l.scale * at::mm(l.B, l.A); };
  const Tensor hidden = at::silu(at::linear(x, merged(ffn->gate_proj->weight, gate))) * at::linear(x, ffn->up_proj->weight);
  const auto want = torch::autograd::grad({at::linear(hidden, merged(ffn->down_proj->weight, down))}, {gate.A, gate.B, down.A, down.B}, {grad});
  const Tensor found[] = {gate.A.grad(), gate.B.grad(), down.A.grad(), down.B.grad()};
  for (size_t i = 0; i < 4; ++i) EXPECT_TRUE(torch::allclose(found[i], want[i], 1e-10, 1e-12)) << i;
}

TEST(Lora, MergedComputesTheSame) {
  torch::manual_seed(3);
  auto mlp = std::make_shared<GeluMlp>(24, 40);
  const Tensor x = torch::randn({9, 24});
  attach_trained(*mlp, config_of({"*"}, 4));
  const torch::NoGradGuard no_grad;
  const Tensor before = mlp->forward(x);
  merge_lora(*mlp);
  for (const auto& place : lora_places(*mlp)) EXPECT_FALSE(*place.adapter) << place.name;
  const Tensor after = mlp->forward(x);
  EXPECT_LT(((after - before).abs().max() / before.abs().max()).item<double>(), 1e-6);
}

TEST(Lora, DropsInputsOnlyWhenTold) {
  auto linear = std::make_shared<Linear>(64, 3, false);
  auto config = config_of({"*"});
  config.dropout = 0.5;
  const auto adapters = attach_trained(*linear, config);
  const auto& lora = adapters.at("");
  const torch::NoGradGuard no_grad;
  const Tensor x = torch::randn({5, 64});
  const Tensor whole = at::linear(x, linear->weight) + 1.5 * at::linear(at::linear(x, lora->A), lora->B);
  EXPECT_TRUE(torch::allclose(linear->forward(x), whole, 1e-5, 1e-5));
  set_dropout(adapters, config.dropout);
  torch::manual_seed(8);
  const Tensor dropped = linear->forward(x);
  torch::manual_seed(8);
  const Tensor want = at::linear(x, linear->weight) + 1.5 * at::linear(at::linear(at::dropout(x, 0.5, true), lora->A), lora->B);
  EXPECT_TRUE(torch::allclose(dropped, want, 1e-5, 1e-5));
  EXPECT_FALSE(torch::allclose(dropped, whole, 1e-5, 1e-5));
}

TEST(Lora, StaysInFloat32BesideNarrowerWeights) {
  torch::manual_seed(3);
  auto linear = std::make_shared<Linear>(16, 8, false);
  linear->to(torch::kBFloat16);
  const auto lora = attach_trained(*linear, config_of({"*"}))[""];
  const Tensor x = torch::randn({4, 16}, torch::kBFloat16);
  const Tensor y = linear->forward(x);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  y.sum().backward();
  EXPECT_EQ(lora->A.grad().scalar_type(), torch::kFloat32);
  const torch::NoGradGuard no_grad;
  merge_lora(*linear);
  EXPECT_EQ(linear->weight.scalar_type(), torch::kBFloat16);
  EXPECT_TRUE(torch::allclose(linear->forward(x), y, 0.05, 0.05));
}

TEST(Lora, ScaleIsAlphaOverRankOrItsRoot) {
  LoraConfig config;
  config.rank = 16;
  config.alpha = 8;
  EXPECT_DOUBLE_EQ(config.scale(), 0.5);
  config.rank_stabilised = true;
  EXPECT_DOUBLE_EQ(config.scale(), 2);
}

TEST(Lora, PatternsChooseLayersAndOneThatFitsNoneIsNamed) {
  SwiGlu ffn(4, 6);
  const auto places = lora_places(ffn, {"*", "!up_*"});
  ASSERT_EQ(places.size(), 2u);
  EXPECT_EQ(places[0].name, "gate_proj");
  EXPECT_EQ(lora_parameters(places[0], 3), 3 * (4 + 6));
  const auto said = message_of<UsageError>([&] { lora_places(ffn, {"gate_proj", "*.q_proj"}); });
  EXPECT_NE(said.find("\"*.q_proj\" matches no linear layer"), std::string::npos) << said;
  EXPECT_NE(message_of<UsageError>([&] { lora_places(ffn, {"*", "!*"}); }).find("no linear layer to adapt"), std::string::npos);
}

}  // namespace
}  // namespace mose::nn
