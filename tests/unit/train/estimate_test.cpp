#include "mose/train/estimate.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/models/upcycle.h"
#include "support/helpers.h"
#include "support/tiny_model.h"
#include "train/flops.h"

namespace mose::train {
namespace {

StageConfig stage(const std::string& name, const std::string& kind, int64_t steps) {
  StageConfig s;
  s.name = name;
  s.kind = kind;
  s.steps = steps;
  return s;
}

// Samples of 8 rows, two of them the image's.
Recipe recipe() {
  Recipe r;
  r.model = tests::tiny_config();
  r.moe = tests::tiny_moe();
  r.peak_teraflops = 2;
  r.data.encode.max_tokens = 8;
  r.data.loader.batch_samples = 3;
  r.stages = {stage("dense", "dense", 5), stage("router", "router", 7), stage("finetune", "finetune", 11)};
  r.stages[1].upcycle = "sparse";
  r.stages[1].cache_tokens = 20;
  r.stages[2].trainable = {"*", "!model.vision_tower.*"};
  return r;
}

// What the trainer counts of `samples` such samples with a model that has weights.
double counted(models::VisionLanguageModel& model, const std::vector<std::string>& trainable, int64_t samples, bool predict = true) {
  for (auto& p : model.named_parameters()) p.value().set_requires_grad(chosen(p.key(), trainable));
  data::Batch batch;
  batch.plan = nn::make_plan(std::vector<int64_t>(static_cast<size_t>(samples), 8));
  batch.pixels_BCHW = torch::zeros({samples, 3, 32, 64});
  batch.supervised = predict ? samples * 6 : 0;
  return step_flops(model).of(batch);
}

TEST(Estimate, CountsWhatTheTrainerDoes) {
  const Json found = estimate(recipe(), {.processes = 4, .share = 0.25, .price = 3});
  const auto dense = models::make_model(tests::tiny_config(), 3);
  const auto sparse = models::upcycle(*dense, tests::tiny_moe(), tests::taxonomy(), {}, 4);
  const auto& stages = found["stages"];
  ASSERT_EQ(stages.size(), 3);
  const double expected[] = {5 * counted(*dense, {"*"}, 3),
                             counted(*sparse, {}, 4, false),  // 20 rows are cached of ceil(20 / 6) samples, forward alone
                             11 * counted(*sparse, {"*", "!model.vision_tower.*"}, 3)};
  double total = 0;
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(stages[i]["flops"].get<double>(), expected[i], 1e-9 * expected[i]) << stages[i];
    EXPECT_DOUBLE_EQ(stages[i]["seconds"].get<double>(), stages[i]["flops"].get<double>() / (4 * 2e12 * 0.25));
    total += expected[i];
  }
  EXPECT_NEAR(found["device_hours"].get<double>(), total / 2e12 / 0.25 / 3600, 1e-12);
  EXPECT_DOUBLE_EQ(found["cost"].get<double>(), 3 * found["device_hours"].get<double>());
  const std::string table = estimate_table(found);
  for (const char* part : {"dense", "router", "finetune", "together", "not measured"}) EXPECT_NE(table.find(part), std::string::npos) << table;
}

TEST(Estimate, TheDenseTwinActivatesWhatTheSparseModelDoes) {
  Recipe r = recipe();
  r.stages = {stage("finetune", "finetune", 1)};
  const auto flops = [&](const char* upcycle) {
    r.stages[0].upcycle = upcycle;
    return estimate(r, {})["flops"].get<double>();
  };
  const double none = flops("none"), wide = flops("wide"), sparse = flops("sparse");
  EXPECT_GT(wide, 1.02 * none);
  EXPECT_NEAR(sparse, wide, 0.2 * wide);  // routers aside
  EXPECT_GT(sparse, wide);
}

TEST(Estimate, RefusesWhatItCannotReckon) {
  Recipe r = recipe();
  r.peak_teraflops = 0;
  EXPECT_NE(message_of<UsageError>([&] { estimate(r, {}); }).find("peak_teraflops"), std::string::npos);
  EXPECT_NE(message_of<UsageError>([&] { estimate(recipe(), {.rows = 2}); }).find("more than the 2 of its image"), std::string::npos);
  r = recipe();
  r.stages[1].upcycle = "none";
  EXPECT_NE(message_of<UsageError>([&] { estimate(r, {}); }).find("router"), std::string::npos);
  r = recipe();
  r.stages[2].upcycle = "wide";
  EXPECT_NE(message_of<UsageError>([&] { estimate(r, {}); }).find("sparse already"), std::string::npos);
}

}  // namespace
}  // namespace mose::train
