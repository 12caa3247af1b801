#include <gtest/gtest.h>
#include <torch/torch.h>

#include <map>

#include "mose/infer/answer_view.h"
#include "mose/infer/generator.h"
#include "mose/infer/predict.h"
#include "mose/nn/int8.h"
#include "support/tiny_model.h"

namespace mose::infer {
namespace {

std::vector<Prompt> prompts() {
  torch::manual_seed(2);
  return {{{1, 299, 299, 4, 5}, {{torch::randn({1, 3, 32, 64}), {2}}}},
          {{9, 8, 7}, {}},
          {{299, 299, 3}, {{torch::randn({1, 3, 32, 64}), {2}}}}};
}

TEST(Generate, WithTheCacheAndWithoutGiveTheSameTokens) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 20;
  const auto cached = generate(*model, prompts(), options);
  options.cache = false;
  const auto plain = generate(*model, prompts(), options);
  for (size_t i = 0; i < cached.size(); ++i) {
    EXPECT_EQ(cached[i].tokens, plain[i].tokens) << i;
    EXPECT_EQ(cached[i].tokens.size(), 20u);
    EXPECT_FALSE(cached[i].finished);
  }
}

TEST(Generate, AnEndedAnswerLeavesTheOthersAsTheyWere) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 12;
  const auto free = generate(*model, prompts(), options);
  // The token that the first answer has at its first place ends it at once.
  options.end_token = free[0].tokens[0];
  const auto ended = generate(*model, prompts(), options);
  EXPECT_TRUE(ended[0].finished);
  EXPECT_TRUE(ended[0].tokens.empty());
  for (size_t i = 1; i < free.size(); ++i) {
    const auto stop = std::find(free[i].tokens.begin(), free[i].tokens.end(), options.end_token);
    EXPECT_EQ(ended[i].tokens, std::vector<int64_t>(free[i].tokens.begin(), stop)) << i;
  }
}

TEST(Generate, SamplingFollowsTheDistributionAndTheSeed) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 1;
  options.sampling.temperature = 0.05;
  options.sampling.top_k = 3;
  const Prompt prompt = {{9, 8, 7}, {}};
  const torch::NoGradGuard no_grad;
  const auto hidden = model->forward(torch::tensor(prompt.tokens), nn::make_plan({3}), {}).hidden_TD;
  const auto [values, ids] = model->logits(hidden[2]).topk(3);
  const auto expected = torch::softmax(values / 0.05, 0);
  std::map<int64_t, int> counts;
  const int draws = 200;
  const auto many = generate(*model, std::vector<Prompt>(draws, prompt), options);
  for (const auto& one : many) ++counts[one.tokens.at(0)];
  for (int64_t k = 0; k < 3; ++k) {
    EXPECT_NEAR(counts[ids[k].item<int64_t>()] / double(draws), expected[k].item<double>(), 0.12);
  }
  EXPECT_EQ(generate(*model, {prompt}, options)[0].tokens, many[0].tokens);
}

TEST(Generate, RecordsTheRoutingOfEachToken) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 5;
  options.routing = true;
  const auto out = generate(*model, {prompts()[1]}, options);
  ASSERT_EQ(out[0].routing.size(), 4u);  // the fifth token's row is never computed
  for (const auto& token : out[0].routing) {
    ASSERT_EQ(token.top_expert.size(), 2u);
    EXPECT_GE(token.skill[1], 0);
    EXPECT_LT(token.top_expert[0], 4);
  }
  const auto view = routing_view(out[0], tests::tiny_tokenizer(), tests::taxonomy(), 4, false);
  EXPECT_NE(view.find("sparse layer 1:"), std::string::npos);
}

// 8-bit weights: the model whose weights are the rounded ones, in float32, is the reference.
TEST(Int8Weights, GenerateAsTheRoundedModel) {
  for (const bool tied : {true, false}) {
    auto config = tests::tiny_config();
    config.language.moe = tests::tiny_moe();
    config.language.moe->placement = "alternate";
    config.language.tie_embeddings = tied;
    auto packed = models::make_model(config, 8, &tests::taxonomy()), rounded = models::make_model(config, 8, &tests::taxonomy()),
         exact = models::make_model(config, 8, &tests::taxonomy());
    packed->use_int8_weights();
    const torch::NoGradGuard no_grad;
    int64_t matrices = 0;
    const auto now = packed->named_parameters();
    for (auto& item : rounded->named_parameters()) {
      const auto& value = now[item.key()];
      if (!nn::is_packed(value)) {
        EXPECT_TRUE(torch::equal(value, item.value())) << item.key();
        EXPECT_TRUE(item.value().dim() == 1 || item.key().find(".layers.") == std::string::npos || item.key().find(".gate.") != std::string::npos ||
                    item.key().find("vision_tower") != std::string::npos) << item.key() << " is not packed";
        continue;
      }
      ++matrices;
      item.value().copy_(nn::unpack_int8(value));
    }
    EXPECT_EQ(matrices, 4 * 4 + 2 * 2 + 2 * 3 + (tied ? 0 : 1));  // attention, experts, dense FFNs, head
    GenerateOptions options;
    options.sampling.max_new_tokens = 10;
    if (!tied) {  // a tied head is rounded, the embedding is not
      const auto found = generate(*packed, prompts(), options), expected = generate(*rounded, prompts(), options);
      for (size_t i = 0; i < found.size(); ++i) EXPECT_EQ(found[i].tokens, expected[i].tokens) << i;
    }
    const auto logits = [&](models::VisionLanguageModel& model) {
      const auto tokens = torch::arange(40) * 7 % 290;
      return model.logits(model.forward(tokens, nn::make_plan({40}), {}).hidden_TD);
    };
    const auto a = logits(*packed), b = logits(*exact);
    EXPECT_LT((a - b).norm().item<double>(), 0.05 * b.norm().item<double>());
    EXPECT_GT((a - b).norm().item<double>(), 1e-4 * b.norm().item<double>());
  }
}

TEST(TaskAnswers, DescriptionAndReasoningMakeThePerceptionAnswer) {
  const auto sliced = task_answers("Description:\nA dog.\nReasoning:\nIt may cross.\nPlan:\nSlow down.", tests::taxonomy());
  EXPECT_EQ(sliced.general_perception, "A dog. It may cross.");
  EXPECT_EQ(sliced.driving_suggestion, "Slow down.");
  EXPECT_EQ(task_answers("A dog.", tests::taxonomy()).driving_suggestion, "");
}

}  // namespace
}  // namespace mose::infer
