#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/language/backbone.h"
#include "mose/nn/autocast.h"
#include "mose/nn/lora.h"

namespace mose::language {
namespace {

using torch::Tensor;

// What one training step finds: the loss, and every gradient by name.
struct Step {
  double loss = 0;
  std::map<std::string, Tensor> gradients;
};

class Recompute : public testing::TestWithParam<const char*> {
 protected:
  void SetUp() override {
    Config c;
    c.vocab_size = 50;
    c.hidden_size = 24;
    c.intermediate_size = 40;
    c.layers = 4;
    c.heads = 4;
    c.kv_heads = 2;
    c.moe.emplace();
    c.moe->experts = 4;
    c.moe->router = GetParam();
    const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
    const auto map = moe::make_skill_map(*c.moe, taxonomy);
    torch::manual_seed(4);
    model = make_backbone(c, &map);
    plan = nn::make_plan({7, 5, 9});
    rows = torch::randn({21, 24});
    target = torch::randn({21, 24});
  }

  // A loss on the states and on every tensor a router loss may use.
  Step step(bool recompute, const nn::AutocastState& autocast = {}) {
    torch::manual_seed(9);
    model->zero_grad();
    for (auto& [name, lora] : adapters) lora->A.mutable_grad() = lora->B.mutable_grad() = Tensor();
    Tensor x = rows.detach().clone().set_requires_grad(rows_learn);
    ForwardOptions options;
    options.recompute = recompute;
    Tensor loss;
    {
      const nn::AutocastGuard guard(torch::kCPU, autocast);
      const auto out = model->forward(x, plan, options);
      EXPECT_EQ(out.routings.size(), 2u);
      loss = (out.hidden_TD - target).pow(2).mean();
      for (const auto& r : out.routings) {
        loss = loss + r.routing.logits_TE.logsumexp(1).pow(2).mean() + (r.routing.probabilities_TE.mean(0).pow(2)).sum();
        if (r.routing.stage_logits_TG) loss = loss + r.routing.stage_logits_TG->log_softmax(1).select(1, 0).mean();
        if (r.routing.skill_logits_TS) loss = loss + r.routing.skill_logits_TS->select(1, 3).mean();
      }
    }
    loss.backward();
    Step s{loss.item<double>(), {}};
    for (const auto& p : model->named_parameters()) s.gradients[p.key()] = p.value().grad().defined() ? p.value().grad().clone() : Tensor();
    for (const auto& [name, lora] : adapters) {
      s.gradients[name + ".A"] = lora->A.grad().clone();
      s.gradients[name + ".B"] = lora->B.grad().clone();
    }
    if (rows_learn) s.gradients["x"] = x.grad().clone();
    return s;
  }

  void expect_equal(const Step& a, const Step& b, size_t learning) {
    EXPECT_EQ(a.loss, b.loss);
    size_t found = 0;
    for (const auto& [name, gradient] : a.gradients) {
      ASSERT_EQ(gradient.defined(), b.gradients.at(name).defined()) << name;
      if (!gradient.defined()) continue;
      ++found;
      EXPECT_TRUE(torch::equal(gradient, b.gradients.at(name))) << name;
    }
    EXPECT_GE(found, learning);
  }

  std::shared_ptr<LanguageBackbone> model;
  nn::Adapters adapters;
  nn::SequencePlan plan;
  Tensor rows, target;
  bool rows_learn = true;
};

TEST_P(Recompute, GivesTheSameLossAndTheSameGradientsBitForBit) {
  expect_equal(step(false), step(true), 30);
}

TEST_P(Recompute, ReachesABlockAboveAFrozenPart) {
  rows_learn = false;  // what a frozen tower and embedding hand over
  expect_equal(step(false), step(true), 30);
}

TEST_P(Recompute, LeavesFrozenBlocksAlone) {
  rows_learn = false;
  for (auto& p : model->named_parameters()) p.value().set_requires_grad(p.key().starts_with("layers.3."));
  const Step plain = step(false), again = step(true);
  expect_equal(plain, again, 8);
  EXPECT_FALSE(again.gradients.at("layers.0.self_attn.q_proj.weight").defined());
}

TEST_P(Recompute, DrawsTheSameDropoutMasksAgain) {
  for (auto& p : model->parameters()) p.set_requires_grad(false);
  nn::LoraConfig lora;
  lora.rank = 2;
  lora.targets = {"*"};
  adapters = nn::attach_lora(*model, lora, 3);
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

TEST_P(Recompute, RunsAgainUnderTheSameAutocast) {
  const Step exact = step(true);
  const nn::AutocastState bfloat16{true, torch::kBFloat16, true};
  const Step plain = step(false, bfloat16), again = step(true, bfloat16);
  expect_equal(plain, again, 30);
  EXPECT_NE(plain.loss, exact.loss);
  EXPECT_NEAR(plain.loss, exact.loss, 0.02 * std::abs(exact.loss));
}

TEST_P(Recompute, RefusesACache) {
  auto cache = make_cache([] { Config c; c.layers = 4; c.hidden_size = 24; c.heads = 4; c.kv_heads = 2; return c; }(), 3, 16, torch::kFloat32);
  ForwardOptions options;
  options.recompute = true;
  options.cache = &cache;
  EXPECT_THROW(model->forward(rows, plan, options), Error);
}

INSTANTIATE_TEST_SUITE_P(Routers, Recompute, testing::Values("topk", "skill", "hierarchical_skill"));

}  // namespace
}  // namespace mose::language
