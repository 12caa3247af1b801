#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/nn/autocast.h"
#include "mose/nn/lora.h"
#include "mose/vision/tower.h"

namespace mose::vision {
namespace {

using torch::Tensor;

// What one training step finds: the loss, and every gradient by name.
struct Step {
  double loss = 0;
  std::map<std::string, Tensor> gradients;
};

class TowerRecompute : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    Config c;
    c.type = GetParam();
    c.image_height = 32;
    c.image_width = 48;
    c.patch_size = 8;
    c.stem_width = 8;
    c.hidden_size = 24;
    c.intermediate_size = 40;
    c.layers = 3;
    c.heads = 4;
    torch::manual_seed(4);
    tower = make_tower(c);
    pixels = torch::randn({3, 3, 32, 48});
    target = torch::randn({3, c.patches(), 24});
  }

  Tensor loss(bool recompute) { return (tower->forward(pixels, recompute) - target).pow(2).mean(); }

  Step step(bool recompute, const nn::AutocastState& autocast = {}) {
    torch::manual_seed(9);
    tower->zero_grad();
    for (auto& [name, lora] : adapters) lora->A.mutable_grad() = lora->B.mutable_grad() = Tensor();
    Tensor found;
    {
      const nn::AutocastGuard guard(torch::kCPU, autocast);
      found = loss(recompute);
    }
    found.backward();
    Step s{found.item<double>(), {}};
    for (const auto& p : tower->named_parameters()) {
      if (p.value().grad().defined()) s.gradients[p.key()] = p.value().grad().clone();
    }
    for (const auto& [name, lora] : adapters) {
      s.gradients[name + ".A"] = lora->A.grad().clone();
      s.gradients[name + ".B"] = lora->B.grad().clone();
    }
    return s;
  }

  void expect_equal(const Step& a, const Step& b, size_t learning) {
    EXPECT_EQ(a.loss, b.loss);
    EXPECT_EQ(a.gradients.size(), learning);
    ASSERT_EQ(b.gradients.size(), learning);
    for (const auto& [name, gradient] : a.gradients) EXPECT_TRUE(torch::equal(gradient, b.gradients.at(name))) << name;
  }

  size_t parameters() const { return tower->parameters().size(); }

  std::shared_ptr<VisionTower> tower;
  nn::Adapters adapters;
  Tensor pixels, target;
};

TEST_P(TowerRecompute, GivesTheSameLossAndTheSameGradientsBitForBit) {
  expect_equal(step(false), step(true), parameters());
}

TEST_P(TowerRecompute, KeepsNothingOfABlock) {
  // A backward pass that reads what the blocks kept notices that a weight has changed since; one that runs them again sees the new one.
  const auto change = [&] {
    const torch::NoGradGuard no_grad;
    for (const auto& p : tower->named_parameters()) {
      if (p.key().ends_with("1.mlp.fc2.weight")) p.value().add_(1);
    }
  };
  const Tensor kept = loss(false), again = loss(true);
  change();
  EXPECT_THROW(kept.backward(), c10::Error);
  EXPECT_NO_THROW(again.backward());
}

TEST_P(TowerRecompute, LeavesFrozenBlocksAlone) {
  size_t learning = 0;
  for (auto& p : tower->named_parameters()) {
    const bool top = p.key().find("layers.2.") != std::string::npos;
    p.value().set_requires_grad(top);
    learning += top ? 1 : 0;
  }
  EXPECT_GT(learning, 10u);
  expect_equal(step(false), step(true), learning);
}

TEST_P(TowerRecompute, AFrozenTowerHasNoGraph) {
  for (auto& p : tower->parameters()) p.set_requires_grad(false);
  const Tensor plain = tower->forward(pixels), again = tower->forward(pixels, true);
  EXPECT_FALSE(again.requires_grad());
  EXPECT_TRUE(torch::equal(plain, again));
}

TEST_P(TowerRecompute, DrawsTheSameDropoutMasksAgain) {
  for (auto& p : tower->parameters()) p.set_requires_grad(false);
  nn::LoraConfig lora;
  lora.rank = 2;
  lora.targets = {"*"};
  adapters = nn::attach_lora(*tower, lora, 3);
  {
    const torch::NoGradGuard no_grad;
    for (auto& [name, adapter] : adapters) adapter->B.normal_();
  }
  nn::set_dropout(adapters, 0.3);
  const Step plain = step(false);
  expect_equal(plain, step(true), 2 * adapters.size());
  nn::set_dropout(adapters, 0);
  EXPECT_NE(step(true).loss, plain.loss);
}

TEST_P(TowerRecompute, RunsAgainUnderTheSameAutocast) {
  const Step exact = step(true);
  const nn::AutocastState bfloat16{true, torch::kBFloat16, true};
  const Step plain = step(false, bfloat16), again = step(true, bfloat16);
  expect_equal(plain, again, parameters());
  EXPECT_NE(plain.loss, exact.loss);
  EXPECT_NEAR(plain.loss, exact.loss, 0.02 * std::abs(exact.loss));
}

INSTANTIATE_TEST_SUITE_P(Types, TowerRecompute, testing::Values("vit", "clip", "siglip"));

}  // namespace
}  // namespace mose::vision
