#include "infer/step_graph.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/infer/continuous.h"
#include "support/devices.h"
#include "support/tiny_model.h"

namespace mose::infer {
namespace {

using torch::Tensor;

class Steps : public OnDevice {
 protected:
  // On a CPU the work itself is run again: all but the recording is tried.
  Recorder recorder() {
    if (device().is_cuda()) return graph_recorder(device());
    return [](const std::function<void()>& work) {
      work();
      return work;
    };
  }
  // Widths of whole 16 bytes.
  std::shared_ptr<models::VisionLanguageModel> model(torch::Dtype type, const std::string& router = "topk") {
    auto config = tests::tiny_config();
    config.language.hidden_size = config.language.intermediate_size = 32;
    config.language.moe = tests::tiny_moe(router);
    auto made = models::make_model(config, 5, &tests::taxonomy());
    made->to(device(), type);
    return made;
  }
};
MOSE_ON_DEVICES(Steps);

constexpr int64_t kPlaces = 5, kCapacity = 1200;

// A cache whose places hold prompts of other lengths each.
struct Prepared {
  nn::KvCache cache;
  std::vector<int64_t> last;  // each place's last token

  explicit Prepared(models::VisionLanguageModel& model)
      : cache(language::make_cache(model.config().language, kPlaces + 1, kCapacity, torch::dtype(model.type()).device(model.device()))) {
    language::ForwardOptions options;
    options.cache = &cache;
    for (int64_t p = 0; p < kPlaces; ++p) {
      cache.run({p});
      const int64_t length = 3 + 7 * p;
      const auto tokens = (torch::arange(length) * (p + 3) + 2) % 290;
      model.forward(tokens.to(model.device()), nn::make_plan({length}, model.device()), {}, options);
      last.push_back(4 + p);
    }
  }
};

TEST_P(Steps, LogitsAreThoseOfStepsThatAreNotRecorded) {
  const torch::NoGradGuard no_grad;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const auto made = model(type);
    Prepared recorded(*made), plain(*made);
    StepGraphs graphs(*made, recorded.cache, kPlaces, {}, recorder());
    // Places come and go, in any order; 3 and 5 rows are filled up.
    const std::vector<std::vector<int64_t>> runs = {{0, 1}, {0, 1}, {2}, {4, 0, 3}, {4, 0, 3}, {0, 1, 2, 3, 4}, {1, 0}, {2}, {3, 2, 1, 0}};
    for (const auto& places : runs) {
      std::vector<int64_t> tokens, starts;
      for (const int64_t p : places) {
        tokens.push_back(plain.last[static_cast<size_t>(p)]);
        starts.push_back(plain.cache.lengths()[static_cast<size_t>(p)]);
      }
      language::ForwardOptions options;
      options.cache = &plain.cache;
      plain.cache.run(places);
      const auto plan = nn::make_plan(std::vector<int64_t>(places.size(), 1), made->device(), starts);
      const Tensor want = text_logits(*made, made->forward(torch::tensor(tokens).to(made->device()), plan, {}, options).hidden_TD);
      const auto chosen = graphs.step(places, tokens, std::vector<RandomStream*>(places.size(), nullptr));
      ASSERT_TRUE(chosen);
      const auto rows = static_cast<int64_t>(places.size());
      const Tensor found = graphs.logits().narrow(0, 0, rows);
      const double tolerance = type == torch::kFloat32 ? 1e-5 : 0.02;
      if ((rows & (rows - 1)) == 0) {  // nothing is filled up
        EXPECT_TRUE(torch::equal(found, want)) << rows << " rows";
      }
      EXPECT_TRUE(torch::allclose(found.to(torch::kFloat32), want.to(torch::kFloat32), tolerance, tolerance)) << rows << " rows";
      const Tensor best = found.argmax(1).cpu();
      for (int64_t n = 0; n < rows; ++n) {
        EXPECT_EQ((*chosen)[static_cast<size_t>(n)], best[n].item<int64_t>());
        plain.last[static_cast<size_t>(places[static_cast<size_t>(n)])] = best[n].item<int64_t>();
      }
      for (int64_t p = 0; p < kPlaces; ++p) EXPECT_EQ(recorded.cache.lengths()[static_cast<size_t>(p)], plain.cache.lengths()[static_cast<size_t>(p)]);
      EXPECT_EQ(recorded.cache.lengths()[kPlaces], 0);
    }
    EXPECT_EQ(graphs.recorded(), 4u);  // for 1, 2, 4 and 8 rows
  }
}

// A graph that was recorded on a short sequence sees all of a longer one, and one for longer ones is recorded in time.
TEST_P(Steps, SequencesGrowBeyondWhatAGraphLooksAt) {
  const torch::NoGradGuard no_grad;
  const auto made = model(torch::kFloat32);
  nn::KvCache cache = language::make_cache(made->config().language, 2, kCapacity, torch::dtype(torch::kFloat32).device(device()));
  StepGraphs graphs(*made, cache, 1, {}, recorder());
  const auto tokens = (torch::arange(600) * 7 + 3) % 290;
  const Tensor want = made->logits(made->forward(tokens.to(device()), nn::make_plan({600}, device()), {}).hidden_TD);
  for (int64_t i = 0; i < 600; ++i) {
    if (i > 20 && i < 480) {  // filled in one go, as a prompt is
      language::ForwardOptions options;
      options.cache = &cache;
      cache.run({0});
      made->forward(tokens.slice(0, i, 480).to(device()), nn::make_plan({480 - i}, device(), {i}), {}, options);
      i = 480;
    }
    ASSERT_TRUE(graphs.step({0}, {tokens[i].item<int64_t>()}, {nullptr}));
    if (i % 40 == 20 || i > 505) {
      EXPECT_LT((graphs.logits()[0].slice(0, 0, 290) - want[i].slice(0, 0, 290)).abs().max().item<double>(), 1e-3) << i;
    }
  }
  EXPECT_EQ(graphs.recorded(), 2u);
}

TEST_P(Steps, DrawsAreThoseOfStepsThatAreNotRecorded) {
  const torch::NoGradGuard no_grad;
  const auto made = model(torch::kFloat32);
  SamplingConfig sampling;
  sampling.temperature = 1;
  sampling.top_k = 50;
  Prepared recorded(*made), plain(*made);
  StepGraphs graphs(*made, recorded.cache, kPlaces, sampling, recorder());
  RandomStream a(1, "a"), b(1, "b"), a2(1, "a"), b2(1, "b");
  std::vector<int64_t> tokens = {7, 8};
  for (int i = 0; i < 6; ++i) {
    language::ForwardOptions options;
    options.cache = &plain.cache;
    plain.cache.run({3, 1});
    const auto plan = nn::make_plan({1, 1}, device(), {plain.cache.lengths()[3], plain.cache.lengths()[1]});
    const Tensor logits = text_logits(*made, made->forward(torch::tensor(tokens).to(device()), plan, {}, options).hidden_TD);
    const auto want = choose_tokens(logits, sampling, {&a, &b});
    const auto found = graphs.step({3, 1}, tokens, {&a2, &b2});
    ASSERT_TRUE(found);
    EXPECT_EQ(*found, want) << i;
    tokens = want;
  }
}

TEST_P(Steps, WhatCannotBeRecordedIsLeftToThePlainWay) {
  const torch::NoGradGuard no_grad;
  const auto made = model(torch::kFloat32);
  Prepared prepared(*made);
  const auto before = prepared.cache.lengths();
  StepGraphs graphs(*made, prepared.cache, kPlaces, {}, [this](const std::function<void()>& work) -> std::function<void()> {
    recorder()(work);
    throw std::runtime_error("no graph today");
  });
  EXPECT_FALSE(graphs.step({0, 1}, {5, 6}, {nullptr, nullptr}));
  EXPECT_FALSE(graphs.step({0, 1}, {5, 6}, {nullptr, nullptr}));
  EXPECT_EQ(prepared.cache.lengths(), before);
  EXPECT_EQ(graphs.recorded(), 0u);
}

// Whole answers with and without graphs, on a GPU alone: elsewhere nothing is recorded.
TEST(StepsOnAGpu, AnswersAreThoseWithoutGraphs) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  for (const std::string router : {"topk", "skill", "hierarchical_skill"}) {
    auto config = tests::tiny_config();
    config.language.hidden_size = config.language.intermediate_size = 32;
    config.language.moe = tests::tiny_moe(router);
    auto made = models::make_model(config, 5, &tests::taxonomy());
    made->to(torch::kCUDA);
    const std::vector<Prompt> prompts = {{{9, 8, 7}, {}}, {{4, 5, 6, 7, 8, 9}, {}}, {{1}, {}}};
    for (const double temperature : {0.0, 0.8}) {
      GenerateOptions with, without;
      with.sampling.max_new_tokens = without.sampling.max_new_tokens = 24;
      with.sampling.temperature = without.sampling.temperature = temperature;
      without.graphs = false;
      const auto a = generate(*made, prompts, with), b = generate(*made, prompts, without);
      for (size_t i = 0; i < prompts.size(); ++i) EXPECT_EQ(a[i].tokens, b[i].tokens) << router << " " << i;
    }
  }
}

}  // namespace
}  // namespace mose::infer
