#include <gtest/gtest.h>
#include <torch/torch.h>

#include <filesystem>
#include <fstream>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/patterns.h"
#include "mose/models/bundle.h"
#include "mose/models/upcycle.h"
#include "mose/optim/adamw.h"
#include "mose/train/losses.h"
#include "mose/train/metrics.h"
#include "mose/train/recipe.h"
#include "mose/train/router_cache.h"
#include "mose/train/run_checkpoint.h"
#include "support/helpers.h"
#include "support/tiny_model.h"
#include "train/flops.h"

namespace mose::train {
namespace {

namespace fs = std::filesystem;

// `samples` sequences of 8 rows: two image rows, then text of which the last four rows are supervised.
data::Batch make_batch(int64_t samples, int64_t seed) {
  torch::manual_seed(seed);
  const int64_t T = samples * 8, skills = static_cast<int64_t>(tests::taxonomy().skills().size());
  data::Batch b;
  b.tokens_T = torch::randint(0, 290, {T});
  b.targets_T = torch::full({T}, -100, torch::kInt64);
  b.segments_T = torch::full({T}, -1, torch::kInt64);
  b.labels = {torch::zeros({T, 3}), torch::zeros({T}), torch::zeros({T, skills}), torch::zeros({T})};
  for (int64_t n = 0; n < samples; ++n) {
    for (int64_t i = 0; i < 2; ++i) b.tokens_T[n * 8 + i] = 299;
    for (int64_t i = 4; i < 8; ++i) {
      const int64_t row = n * 8 + i, skill = (row * 7) % skills;
      b.targets_T[row] = (row * 13) % 290;
      b.segments_T[row] = i - 5 < 0 ? 0 : i - 5;
      b.labels.skill_TS[row][skill] = 1;
      b.labels.skill_weight_T[row] = 1;
      b.labels.stage_TG[row][tests::taxonomy().skills()[static_cast<size_t>(skill)].stage] = 1;
      b.labels.stage_weight_T[row] = 1;
    }
  }
  b.plan = nn::make_plan(std::vector<int64_t>(static_cast<size_t>(samples), 8));
  b.pixels_BCHW = torch::randn({samples, 3, 32, 64});
  b.layouts.assign(static_cast<size_t>(samples), {2});  // of one frame each
  b.samples = samples;
  b.supervised = samples * 4;
  return b;
}

TEST(BatchLoss, SegmentsCountByTheirWeights) {
  auto model = models::make_model(tests::tiny_config(), 3);
  const auto batch = make_batch(2, 1);
  StepWeights weights;
  weights.segments = {1, 2, 0};
  const auto result = batch_loss(*model, batch, weights, normalisers(batch, weights));
  // A plain loop over the rows, in float64.
  const torch::NoGradGuard no_grad;
  const auto hidden = model->forward(batch.tokens_T, batch.plan, model->encode_images(batch.pixels_BCHW).embeddings_BQD);
  const auto log_p = torch::log_softmax(model->logits(hidden.hidden_TD).to(torch::kFloat64), 1);
  double sum = 0, total = 0;
  std::array<double, 3> by_segment = {0, 0, 0};
  for (int64_t t = 0; t < batch.tokens_T.size(0); ++t) {
    const auto target = batch.targets_T[t].item<int64_t>();
    if (target < 0) continue;
    const auto g = static_cast<size_t>(batch.segments_T[t].item<int64_t>());
    const double loss = -log_p[t][target].item<double>();
    by_segment[g] += loss;
    sum += weights.segments[g] * loss;
    total += weights.segments[g];
  }
  EXPECT_NEAR(result.loss.item<double>(), sum / total, 1e-4);
  for (size_t g = 0; g < 3; ++g) EXPECT_NEAR(result.report.segment_sum[g].item<double>(), by_segment[g], 1e-3);
}

TEST(BatchLoss, PartsOfABatchAddUpToTheWhole) {
  auto model = tests::tiny_sparse_model(3);
  // Parts with different numbers of supervised rows and different weights of labels.
  auto a = make_batch(2, 1), b = make_batch(2, 2);
  b.targets_T.narrow(0, 4, 4).fill_(-100);
  b.labels.skill_weight_T.narrow(0, 4, 6).mul_(0.25);
  b.labels.stage_weight_T.narrow(0, 12, 3).zero_();
  data::Batch whole = a;
  whole.tokens_T = torch::cat({a.tokens_T, b.tokens_T});
  whole.targets_T = torch::cat({a.targets_T, b.targets_T});
  whole.segments_T = torch::cat({a.segments_T, b.segments_T});
  whole.labels = {torch::cat({a.labels.stage_TG, b.labels.stage_TG}), torch::cat({a.labels.stage_weight_T, b.labels.stage_weight_T}),
                  torch::cat({a.labels.skill_TS, b.labels.skill_TS}), torch::cat({a.labels.skill_weight_T, b.labels.skill_weight_T})};
  whole.plan = nn::make_plan({8, 8, 8, 8});
  whole.pixels_BCHW = torch::cat({a.pixels_BCHW, b.pixels_BCHW});
  whole.layouts.insert(whole.layouts.end(), b.layouts.begin(), b.layouts.end());
  whole.samples = 4;
  StepWeights weights;
  weights.skill = 0.5;
  weights.stage = 0.25;
  weights.z = 0.125;
  const auto n = normalisers(whole, weights);
  batch_loss(*model, whole, weights, n).loss.backward();
  std::map<std::string, torch::Tensor> expected;
  for (auto& p : model->named_parameters()) {
    if (p.value().grad().defined()) expected[p.key()] = p.value().grad().clone();
    p.value().mutable_grad() = torch::Tensor();
  }
  for (const auto* part : {&a, &b}) batch_loss(*model, *part, weights, n).loss.backward();
  ASSERT_FALSE(expected.empty());
  for (auto& p : model->named_parameters()) {
    if (expected.count(p.key())) {
      EXPECT_TRUE(torch::allclose(p.value().grad(), expected[p.key()], 1e-3, 1e-6)) << p.key();
    }
  }
}

data::Encoded with_words(std::vector<int64_t> scene, std::vector<std::vector<int64_t>> objects) {
  data::Encoded sample;
  sample.scene_words = std::move(scene);
  sample.object_words = std::move(objects);
  return sample;
}

TEST(WordTables, RareWordsWeighMoreAndThePriorIsTheMeanTarget) {
  // Token 1 is in all four texts, 2 in two, 3 in one; the last sample describes no scene and is left out.
  const auto tables = word_tables({with_words({1, 2}, {{4}}), with_words({1, 2, 3}, {}), with_words({1}, {{4}, {5}}),
                                   with_words({1}, {}), with_words({}, {{6}})}, 8, torch::kCPU);
  const double two = std::log(2.0), four = std::log(4.0);
  EXPECT_FLOAT_EQ(tables.scenes.rarity_V[1].item<float>(), 0);
  EXPECT_NEAR(tables.scenes.rarity_V[2].item<double>(), two, 1e-6);
  EXPECT_NEAR(tables.scenes.rarity_V[3].item<double>(), four, 1e-6);
  EXPECT_NEAR(tables.scenes.log_prior_V[2].item<double>(), std::log((1 + two / (two + four)) / 4 + 1e-6), 1e-6);
  EXPECT_NEAR(tables.objects.rarity_V[5].item<double>(), std::log(3.0), 1e-6);
  EXPECT_FLOAT_EQ(tables.objects.rarity_V[6].item<float>(), 0);
}

TEST(WordsLoss, EqualsThePlainSum) {
  auto model = models::make_model(tests::tiny_config(), 3);
  auto batch = make_batch(2, 1);
  const auto rows_BQD = model->encode_images(batch.pixels_BCHW).embeddings_BQD;
  const int64_t V = model->config().language.vocab_size, Q = rows_BQD.size(1);
  // Row 1 of image 0 shows an object of words {3, 4}; image 1 is described by {5}.
  batch.row_words_3N = torch::tensor({0, 0, 1, 1, 3, 4}, torch::kInt64).view({3, 2});
  batch.scene_words_2N = torch::tensor({1, 5}, torch::kInt64).view({2, 1});
  torch::manual_seed(5);
  const WordTable table{torch::rand({V}) + 0.1, torch::randn({V})};
  const WordTables tables{table, table};
  ASSERT_GT(Q, 1);
  const auto log_p = [&](const torch::Tensor& row_D) {
    return torch::log_softmax(model->logits(row_D.unsqueeze(0)).to(torch::kFloat64) + table.log_prior_V, 1)[0];
  };
  const auto object = log_p(rows_BQD[0][1]), scene = log_p(rows_BQD[1].mean(0));
  const double r3 = table.rarity_V[3].item<double>(), r4 = table.rarity_V[4].item<double>();
  const double expected = -(r3 * object[3].item<double>() + r4 * object[4].item<double>()) / (r3 + r4) - scene[5].item<double>();
  StepWeights weights;
  weights.lm = 0;
  weights.words = 2;
  const auto n = normalisers(batch, weights);
  EXPECT_EQ(n.words.rows, 1);
  EXPECT_EQ(n.words.images, 1);
  EXPECT_NEAR(words_loss(*model, rows_BQD, batch, tables, n.words).item<double>(), expected, 1e-4);
  const auto result = batch_loss(*model, batch, weights, n, &tables);
  EXPECT_NEAR(result.loss.item<double>(), 2 * expected, 1e-3);
  result.loss.backward();
  EXPECT_GT(model->named_parameters()["model.multi_modal_projector.linear_1.weight"].grad().abs().sum().item<double>(), 0);
}

TEST(RouterPretraining, CachedAndPlainFormsReachTheSameLoss) {
  const auto batch = make_batch(6, 4);
  StepWeights weights;
  weights.lm = 0;
  weights.skill = 1;
  weights.stage = 1;
  auto pretrain = [&](bool cached) {
    // Right after upcycling, when no layer's input depends on a router.
    auto model = models::upcycle(*models::make_model(tests::tiny_config(), 3), tests::tiny_moe(), tests::taxonomy(), {}, 4);
    std::vector<optim::NamedParameter> routers;
    for (auto& p : model->named_parameters()) {
      const bool router = matches(p.key(), "*.mlp.gate.*");
      p.value().set_requires_grad(router);
      if (router) routers.push_back({p.key(), p.value()});
    }
    optim::AdamWConfig config;
    config.weight_decay = 0;
    optim::AdamW optimizer(routers, config);
    RouterCache cache;
    if (cached) {
      cache = router_inputs(*model, batch);
      EXPECT_EQ(cache.rows(), 24);
    }
    std::vector<double> losses;
    for (int step = 0; step < 60; ++step) {
      const auto loss = cached ? cached_router_loss(*model, cache, torch::arange(cache.rows()), weights).loss
                               : batch_loss(*model, batch, weights, normalisers(batch, weights)).loss;
      losses.push_back(loss.item<double>());
      loss.backward();
      optimizer.step(0.02);
      optimizer.zero_grad();
    }
    return losses;
  };
  const auto plain = pretrain(false), cached = pretrain(true);
  EXPECT_LT(plain.back(), 0.7 * plain.front());
  for (size_t i = 0; i < plain.size(); ++i) EXPECT_NEAR(plain[i], cached[i], 2e-3) << "step " << i;
}

TEST(RouterPretraining, CachesAreJoinedUpToALimit) {
  auto model = models::upcycle(*models::make_model(tests::tiny_config(), 3), tests::tiny_moe(), tests::taxonomy(), {}, 4);
  const RouterCache first = router_inputs(*model, make_batch(6, 4)), second = router_inputs(*model, make_batch(3, 4));
  const RouterCache joined = join_caches({first, {}, second}, first.rows() + 1);
  EXPECT_EQ(joined.rows(), first.rows() + 1);
  ASSERT_EQ(joined.inputs_ND.size(), first.inputs_ND.size());
  EXPECT_TRUE(torch::equal(joined.inputs_ND[0].narrow(0, 0, first.rows()), first.inputs_ND[0]));
  EXPECT_TRUE(torch::equal(joined.labels.skill_TS[first.rows()], second.labels.skill_TS[0]));
  EXPECT_NE(message_of<DataError>([] { join_caches({RouterCache()}, 5); }).find("skill label"), std::string::npos);
}

TEST(StepFlops, CountEveryMatrixOfADenseModelSixTimesWhereAllLearns) {
  const auto model = models::make_model(tests::tiny_config(), 3);
  const auto& config = model->config();
  double decoder = 0, head = 0;
  for (const auto& p : model->named_parameters()) {
    if (p.value().dim() < 2) continue;
    if (p.key().find("embed_tokens") != std::string::npos) head += static_cast<double>(p.value().numel());
    else if (p.key().find("language_model") != std::string::npos) decoder += static_cast<double>(p.value().numel());
  }
  ASSERT_TRUE(config.language.tie_embeddings);
  EXPECT_DOUBLE_EQ(step_flops(*model).row, 6 * decoder);
  EXPECT_DOUBLE_EQ(step_flops(*model).target, 6 * head);
  for (auto& p : model->named_parameters()) p.value().set_requires_grad(p.key().find("layers.3.mlp.down_proj") != std::string::npos);
  const auto last = model->named_parameters()["model.language_model.layers.3.mlp.down_proj.weight"];
  // Forward everywhere, the gradient of the one weight, and that of the head's input on the way to it.
  EXPECT_DOUBLE_EQ(step_flops(*model).row, 2 * decoder + 2 * static_cast<double>(last.numel()));
  EXPECT_DOUBLE_EQ(step_flops(*model).target, 4 * head);
}

TEST(Experts, APassWithoutRowsReachesEveryLayer) {
  auto model = models::upcycle(*models::make_model(tests::tiny_config(), 3), tests::tiny_moe(), tests::taxonomy(), {}, 4);
  for (const bool recompute : {false, true}) {
    language::ForwardOptions options;
    options.recompute = recompute;
    const auto out = model->forward(torch::empty({0}, torch::kInt64), nn::make_plan({}), {}, options);
    EXPECT_EQ(out.hidden_TD.sizes(), (std::vector<int64_t>{0, model->config().language.hidden_size}));
    EXPECT_EQ(out.routings.size(), model->moe_layers().size());
    ASSERT_TRUE(out.hidden_TD.requires_grad());
    out.hidden_TD.sum().backward();
  }
}

TEST(Recipe, SaysWhatDoesNotFit) {
  Recipe recipe;
  EXPECT_THROW(check_recipe(recipe), UsageError);
  recipe.stages.resize(2);
  recipe.data.root = "x";
  EXPECT_THROW(check_recipe(recipe), UsageError);  // two stages of one name
  recipe.stages[1].name = "other";
  EXPECT_NO_THROW(check_recipe(recipe));
  recipe.stages[1].accumulate = 3;
  EXPECT_THROW(check_recipe(recipe), UsageError);  // does not divide 16
}

class RunFolder : public ::testing::Test {
 protected:
  void SetUp() override { fs::remove_all(run_); }
  void TearDown() override { fs::remove_all(run_); }
  void save(int64_t step) {
    auto tokenizer = tests::tiny_tokenizer();
    auto config = tests::tiny_config();
    config.language.vocab_size = tokenizer.vocabulary_size();
    config.image_token_id = tokenizer.token_to_id("<image>");
    const models::Bundle bundle{models::make_model(config, 1), std::move(tokenizer), {}, tests::taxonomy()};
    CheckpointContents contents;
    contents.weights = models::weights_for_file(*bundle.model);
    contents.optimizer = {{"w.exp_avg", torch::ones({3})}};
    contents.state.step = step;
    save_checkpoint(run_, *dist::make_communicator({}), bundle, contents, {.newest = 2});
  }
  fs::path run_ = fs::temp_directory_path() / "mose_run_test";
};

TEST_F(RunFolder, KeepsTheNewestCheckpointsAndFindsTheLast) {
  for (const int64_t step : {1, 2, 3}) save(step);
  EXPECT_FALSE(fs::exists(run_ / "checkpoints/step_00000001"));
  EXPECT_EQ(find_checkpoint(run_)->state.step, 3);
}

TEST_F(RunFolder, FallsBackFromADamagedOrUnfinishedCheckpoint) {
  save(1);
  save(2);
  fs::create_directories(run_ / "checkpoints/step_00000003.tmp/model");
  write_file(run_ / "checkpoints/step_00000002/optimizer.safetensors", "short");
  const auto found = find_checkpoint(run_);
  ASSERT_TRUE(found);
  EXPECT_EQ(found->state.step, 1);
  EXPECT_FALSE(fs::exists(run_ / "checkpoints/step_00000003.tmp"));
}

TEST_F(RunFolder, MetricsBeyondTheCheckpointAreDropped) {
  fs::create_directories(run_);
  write_file(run_ / "metrics.jsonl", "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":2}\n{\"step\":3,\"lo");
  {
    Metrics metrics(run_, 1);
    metrics.write({{"step", 2}, {"loss", 1.5}}, "train");
  }
  EXPECT_EQ(read_file(run_ / "metrics.jsonl"), "{\"step\":1,\"loss\":3}\n{\"step\":2,\"loss\":1.5}\n");
}

}  // namespace
}  // namespace mose::train
