#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/train/losses.h"
#include "mose/train/routing_report.h"
#include "support/tiny_model.h"

namespace mose::train {
namespace {

using torch::Tensor;

int64_t skill_count() { return static_cast<int64_t>(tests::taxonomy().skills().size()); }

// Text alone: 12 rows with a skill, 6 with a stage alone, 6 without labels; all of them supervised.
data::Batch make_batch() {
  torch::manual_seed(5);
  const int64_t T = 24, S = skill_count();
  data::Batch b;
  b.tokens_T = torch::randint(0, 290, {T});
  b.targets_T = torch::randint(0, 290, {T});
  b.segments_T = torch::zeros({T}, torch::kInt64);
  b.labels = {torch::zeros({T, 3}), torch::zeros({T}), torch::zeros({T, S}), torch::zeros({T})};
  for (int64_t t = 0; t < 18; ++t) {
    const int64_t skill = (5 * t) % S, stage = t < 12 ? tests::taxonomy().skills()[static_cast<size_t>(skill)].stage : t % 3;
    if (t < 12) {
      b.labels.skill_TS[t][skill] = 1;
      b.labels.skill_weight_T[t] = 0.5;
    }
    b.labels.stage_TG[t][stage] = 1;
    b.labels.stage_weight_T[t] = 1;
  }
  b.plan = nn::make_plan({T});
  b.samples = 1;
  b.supervised = T;
  return b;
}

StepWeights language_alone() {
  StepWeights weights;
  return weights;
}

double loss_of(models::VisionLanguageModel& model, const data::Batch& batch, const Compute& compute = {}) {
  const torch::NoGradGuard no_grad;
  const auto weights = language_alone();
  return batch_loss(model, batch, weights, normalisers(batch, weights), nullptr, compute).loss.item<double>();
}

TEST(Oracle, LabelledRowsAskForTheExpertsOfTheirLabels) {
  const auto model = tests::tiny_sparse_model(3);
  const auto& map = model->skill_map();
  const auto batch = make_batch();
  const Tensor shares = oracle_shares(batch.labels, map);
  for (int64_t t = 0; t < 24; ++t) {
    std::vector<double> expected(4, 0.0);
    if (t < 12) {
      const int64_t skill = (5 * t) % skill_count();
      for (int64_t e = 0; e < 4; ++e) expected[static_cast<size_t>(e)] = map.assignment_SE[skill][e].item<double>();
    } else if (t < 18) {
      double count = 0;
      for (int64_t s = 0; s < skill_count(); ++s) {
        if (tests::taxonomy().skills()[static_cast<size_t>(s)].stage != t % 3) continue;
        ++count;
        for (int64_t e = 0; e < 4; ++e) expected[static_cast<size_t>(e)] += map.assignment_SE[s][e].item<double>();
      }
      for (double& e : expected) e /= count;
    }
    for (int64_t e = 0; e < 4; ++e) EXPECT_NEAR(shares[t][e].item<double>(), expected[static_cast<size_t>(e)], 1e-6) << t << " " << e;
  }
}

// With an oracle the routers have no part in labelled rows, so other routers change nothing there.
TEST(Oracle, RoutersDoNotMatterWhereAllRowsAreLabelled) {
  auto batch = make_batch();
  batch.labels.stage_TG.narrow(0, 18, 6).select(1, 0).fill_(1);
  batch.labels.stage_weight_T.fill_(1);
  auto model = tests::tiny_sparse_model(3);
  const Compute oracle{.route_by_labels = true};
  const double with = loss_of(*model, batch, oracle), without = loss_of(*model, batch);
  {
    const torch::NoGradGuard no_grad;
    for (auto& item : model->named_parameters()) {
      if (item.key().find(".mlp.gate.") != std::string::npos) item.value().normal_();
    }
  }
  EXPECT_NEAR(loss_of(*model, batch, oracle), with, 1e-6);
  EXPECT_GT(std::abs(loss_of(*model, batch) - without), 1e-6);
}

TEST(Oracle, RecomputationGivesTheSameGradients) {
  const auto batch = make_batch();
  const auto weights = language_alone();
  std::vector<std::vector<Tensor>> gradients;
  for (const bool recompute : {false, true}) {
    auto model = tests::tiny_sparse_model(3);
    batch_loss(*model, batch, weights, normalisers(batch, weights), nullptr, {.recompute = recompute, .route_by_labels = true}).loss.backward();
    gradients.emplace_back();
    for (const auto& p : model->parameters()) gradients.back().push_back(p.grad().defined() ? p.grad() : torch::zeros_like(p));
  }
  for (size_t i = 0; i < gradients[0].size(); ++i) EXPECT_TRUE(torch::equal(gradients[0][i], gradients[1][i])) << i;
}

TEST(Removal, GivesTheLossOfEachSkillWithAndWithoutEachExpert) {
  auto model = tests::tiny_sparse_model(3);
  const auto batch = make_batch();
  const Json report = measure_removal(*model, {batch});
  const torch::NoGradGuard no_grad;
  const Tensor logits = model->logits(model->forward(batch.tokens_T, batch.plan, {}).hidden_TD);
  const Tensor log_p = logits.to(torch::kFloat64).log_softmax(1);
  std::vector<double> sum(static_cast<size_t>(skill_count()), 0), rows = sum;
  for (int64_t t = 0; t < 12; ++t) {
    const auto skill = static_cast<size_t>((5 * t) % skill_count());
    sum[skill] -= log_p[t][batch.targets_T[t].item<int64_t>()].item<double>();
    rows[skill] += 1;
  }
  ASSERT_EQ(report["without"].size(), 4u);
  for (size_t s = 0; s < sum.size(); ++s) {
    EXPECT_EQ(report["rows"][s].get<double>(), rows[s]);
    EXPECT_NEAR(report["loss"][s].get<double>(), rows[s] > 0 ? sum[s] / rows[s] : 0, 1e-4);
  }
  // What a removed expert would have computed plays no part, and what the others compute does.
  for (size_t e = 0; e < 4; ++e) {
    auto other = tests::tiny_sparse_model(3);
    for (const auto& [layer, module] : other->moe_layers()) {
      module->experts().named_parameters()["down_proj"][static_cast<int64_t>(e)].fill_(7.0);
    }
    const Json changed = measure_removal(*other, {batch});
    EXPECT_EQ(changed["without"][e], report["without"][e]) << e;
    EXPECT_NE(changed["without"][(e + 1) % 4], report["without"][(e + 1) % 4]) << e;
  }
}

}  // namespace
}  // namespace mose::train
