#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/resources.h"
#include "mose/language/backbone.h"

namespace mose::language {
namespace {

using torch::Tensor;

// What `rows` gives must be what all rows give there: hidden states, every gradient of a loss on them, every routing.
class AskedRows : public testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    config.vocab_size = 50;
    config.hidden_size = 24;
    config.intermediate_size = 40;
    config.layers = 3;
    config.heads = 4;
    config.kv_heads = 2;
    if (GetParam() == "parallel") {
      config.norm = "layer";
      config.ffn = "gelu";
      config.parallel = config.qkv_bias = config.out_bias = config.ffn_bias = true;
    } else if (GetParam() != "dense") {
      config.moe.emplace();
      config.moe->experts = 4;
      config.moe->placement = "listed";
      config.moe->layers = {GetParam() == "sparse last" ? 2 : 1};
    }
    const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
    const auto map = moe::make_skill_map(config.moe.value_or(moe::Config()), taxonomy);
    torch::manual_seed(4);
    model = make_backbone(config, &map);
    model->to(torch::kFloat64);
    plan = nn::make_plan({7, 5, 9});
    x = torch::randn({21, 24}, torch::kFloat64);
  }

  struct Found {
    Tensor hidden;
    std::vector<Tensor> gradients;
    std::vector<LayerRouting> routings;
  };
  Found step(const std::vector<int64_t>& rows, bool ask, ForwardOptions options = {}) {
    model->zero_grad();
    const Tensor rows_R = torch::tensor(rows, torch::kInt64);
    if (ask) options.rows_R = rows_R;
    const Tensor input = x.detach().clone().set_requires_grad(true);
    auto out = model->forward(input, plan, options);
    Found found{ask ? out.hidden_TD : out.hidden_TD.index_select(0, rows_R), {}, std::move(out.routings)};
    Tensor loss = (found.hidden * torch::arange(24, torch::kFloat64)).pow(2).sum();
    for (const auto& r : found.routings) loss = loss + r.routing.logits_TE.logsumexp(1).pow(2).sum();
    loss.backward();
    found.gradients.push_back(input.grad());
    for (const auto& p : model->parameters()) found.gradients.push_back(p.grad().defined() ? p.grad().clone() : Tensor());
    return found;
  }

  static void expect_same(const Found& a, const Found& b) {
    EXPECT_TRUE(torch::allclose(a.hidden, b.hidden, 1e-10, 1e-12));
    ASSERT_EQ(a.gradients.size(), b.gradients.size());
    for (size_t i = 0; i < a.gradients.size(); ++i) {
      const auto value = [](const Tensor& g, const Tensor& like) { return g.defined() || !like.defined() ? g : torch::zeros_like(like); };
      const Tensor left = value(a.gradients[i], b.gradients[i]), right = value(b.gradients[i], a.gradients[i]);
      ASSERT_EQ(left.defined(), right.defined());
      EXPECT_TRUE(!left.defined() || torch::allclose(left, right, 1e-9, 1e-10)) << "gradient " << i;
    }
    ASSERT_EQ(a.routings.size(), b.routings.size());
    for (size_t i = 0; i < a.routings.size(); ++i) {
      EXPECT_TRUE(torch::equal(a.routings[i].routing.experts_TK, b.routings[i].routing.experts_TK));
      EXPECT_EQ(a.routings[i].routing.experts_TK.size(0), 21);
    }
  }

  Config config;
  std::shared_ptr<LanguageBackbone> model;
  nn::SequencePlan plan;
  Tensor x;
};

TEST_P(AskedRows, GiveWhatAllRowsGiveThere) {
  for (const std::vector<int64_t>& rows : {std::vector<int64_t>{6, 11, 20}, {0, 3, 4, 5, 12, 13}, {20, 2}, {}}) {
    const Found all = step(rows, false), asked = step(rows, true);
    EXPECT_EQ(asked.hidden.sizes(), (std::vector<int64_t>{static_cast<int64_t>(rows.size()), 24}));
    expect_same(all, asked);
  }
}

TEST_P(AskedRows, GoWithRecomputation) {
  ForwardOptions again;
  again.recompute = true;
  expect_same(step({6, 11, 20}, false), step({6, 11, 20}, true, again));
}

TEST_P(AskedRows, LeaveEveryFfnInputToItsCallback) {
  int64_t seen = 0;
  ForwardOptions options;
  options.on_ffn_input = [&](int64_t, const Tensor& x_TD) { seen += x_TD.size(0); };
  expect_same(step({6, 11, 20}, false), step({6, 11, 20}, true, options));
  EXPECT_EQ(seen, 3 * 21);
}

TEST_P(AskedRows, LeaveEveryRowToTheCache) {
  const torch::NoGradGuard no_grad;
  const auto run = [&](const Tensor& rows_R) {
    auto cache = make_cache(config, 3, 16, torch::kFloat64);
    ForwardOptions options;
    options.cache = &cache;
    options.rows_R = rows_R;
    const Tensor prefill = model->forward(x, plan, options).hidden_TD;
    options.rows_R = Tensor();
    const auto next = nn::make_plan({1, 1, 1}, torch::kCPU, {7, 5, 9});
    return std::pair{prefill, model->forward(x.narrow(0, 0, 3), next, options).hidden_TD};
  };
  const Tensor rows_R = torch::tensor({6, 11, 20}, torch::kInt64);
  const auto all = run({}), asked = run(rows_R);
  EXPECT_TRUE(torch::allclose(all.first.index_select(0, rows_R), asked.first, 1e-10, 1e-12));
  EXPECT_TRUE(torch::allclose(all.second, asked.second, 1e-10, 1e-12));
}

INSTANTIATE_TEST_SUITE_P(Forms, AskedRows, testing::Values("dense", "parallel", "sparse", "sparse last"),
                         [](const auto& form) { std::string name = form.param; std::erase(name, ' '); return name; });

}  // namespace
}  // namespace mose::language
