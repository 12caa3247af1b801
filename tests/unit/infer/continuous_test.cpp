#include "mose/infer/continuous.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <algorithm>
#include <map>
#include <set>

#include "mose/core/error.h"
#include "support/tiny_model.h"

namespace mose::infer {
namespace {

vision::Picture picture(int seed) {
  torch::manual_seed(seed);
  return {torch::randn({1, 3, 32, 64}), {2}};
}

// Four questions about one picture, one of another, one without, and two more about a third: 8 prompts, 3 pictures.
std::vector<Prompt> questions() {
  const auto a = picture(1), b = picture(2), c = picture(3);
  return {{{1, 299, 299, 4, 5}, {a}},     {{1, 299, 299, 4, 6, 7, 8}, {a}}, {{1, 299, 299, 9}, {a}}, {{1, 299, 299, 4, 6, 2}, {a}},
          {{1, 299, 299, 4, 5}, {b}},     {{9, 8, 7}, {}},                  {{299, 299}, {c}},       {{299, 299, 4}, {c}}};
}

struct Outcome {
  std::map<size_t, Answer> answers;
  std::vector<size_t> order;
  ContinuousReport report;
};

Outcome run(models::VisionLanguageModel& model, int64_t places, const GenerateOptions& options, std::vector<Request> requests) {
  Outcome out;
  size_t next = 0;
  out.report = answer_all(
      model, places, options,
      [&]() -> std::optional<Request> { return next < requests.size() ? std::optional(requests[next++]) : std::nullopt; },
      [&](Answer answer) {
        out.order.push_back(answer.index);
        EXPECT_TRUE(out.answers.emplace(answer.index, answer).second);
      });
  return out;
}

std::vector<Request> requests_of(const std::vector<Prompt>& prompts) {
  std::vector<Request> out;
  for (size_t i = 0; i < prompts.size(); ++i) out.push_back({i, prompts[i], {}});
  return out;
}

class Places : public ::testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Numbers, Places, ::testing::Values(1, 2, 3, 8));

TEST_P(Places, AnswersAreThoseOfEveryPromptByItself) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 12;
  const auto prompts = questions();
  // An end token that some answers reach early.
  options.end_token = generate(*model, {prompts[1]}, options)[0].tokens[3];
  const auto out = run(*model, GetParam(), options, requests_of(prompts));
  ASSERT_EQ(out.answers.size(), prompts.size());
  GenerateOptions plain = options;
  plain.cache = false;
  std::set<size_t> lengths;
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto expected = generate(*model, {prompts[i]}, plain)[0];
    EXPECT_EQ(out.answers.at(i).generation.tokens, expected.tokens) << i;
    EXPECT_EQ(out.answers.at(i).generation.finished, expected.finished) << i;
    lengths.insert(expected.tokens.size());
  }
  EXPECT_GT(lengths.size(), 1u) << "no answer ends before another: this test tries nothing";
}

TEST_P(Places, EveryPictureIsEncodedOnceAndItsRowsAreShared) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 4;
  const auto prompts = questions();
  const auto out = run(*model, GetParam(), options, requests_of(prompts));
  EXPECT_EQ(out.report.image_encodings, 3);
  std::vector<int64_t> shared;
  for (const auto& [i, answer] : out.answers) {
    EXPECT_EQ(answer.prompt_tokens, static_cast<int64_t>(prompts[i].tokens.size()));
    shared.push_back(answer.shared_tokens);
  }
  // All that a prompt about the picture has in common with one that has, or had, a place; the second and the fourth agree in
  // five tokens, but side by side both begin with what the first has.
  const std::map<int64_t, int64_t> fourth = {{1, 3}, {2, 5}, {3, 5}, {8, 4}};
  EXPECT_EQ(shared, (std::vector<int64_t>{0, 4, 3, fourth.at(GetParam()), 0, 0, 0, 2}));
  int64_t rows = 0, all = 0;
  for (const int64_t s : shared) all += s;
  for (const auto& prompt : prompts) rows += static_cast<int64_t>(prompt.tokens.size());
  EXPECT_EQ(out.report.shared_tokens, all);
  EXPECT_EQ(out.report.rows, rows - all + 8 * 3);  // three of four tokens have a row of their own
}

TEST(AnswerAll, AnEndedAnswersPlaceIsTakenAtOnce) {
  auto model = tests::tiny_sparse_model(8);
  const std::vector<int64_t> a = {5, 6}, b = {7, 8, 9, 10, 11}, c = {12, 13, 14};
  const Prompt prompt{{9, 8, 7}, {}};
  std::map<size_t, std::vector<int64_t>> told;
  GenerateOptions options;
  options.on_token = [&](size_t i, int64_t token) { told[i].push_back(token); };
  const auto out = run(*model, 2, options, {{10, prompt, a}, {11, prompt, b}, {12, prompt, c}});
  EXPECT_EQ(out.order, (std::vector<size_t>{10, 12, 11}));
  EXPECT_EQ(told, (std::map<size_t, std::vector<int64_t>>{{10, a}, {11, b}, {12, c}}));
  for (const auto& [i, answer] : out.answers) {
    EXPECT_EQ(answer.generation.tokens, told[i]);
    EXPECT_TRUE(answer.generation.finished);
  }
  // Both prompts; a and b; the third prompt; b and c twice; b. A batch of two and one of one would take 5 + 3.
  EXPECT_EQ(out.report.forward_passes, 6);
  EXPECT_EQ(out.report.decoder_passes, 2 + 5 + 3);
  EXPECT_EQ(out.report.answers, 3);
}

TEST(AnswerAll, SamplingFollowsTheRequestsIndexAndNotItsPlace) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 6;
  options.sampling.temperature = 1;
  const auto alone = run(*model, 1, options, requests_of(questions()));
  auto backwards = requests_of(questions());
  std::reverse(backwards.begin(), backwards.end());
  const auto together = run(*model, 3, options, backwards);
  for (const auto& [i, answer] : alone.answers) EXPECT_EQ(together.answers.at(i).generation.tokens, answer.generation.tokens) << i;
  const auto generated = generate(*model, questions(), options);
  for (const auto& [i, answer] : alone.answers) EXPECT_EQ(generated[i].tokens, answer.generation.tokens) << i;
}

TEST(AnswerAll, RoutingIsThatOfEachAnswerByItself) {
  auto model = tests::tiny_sparse_model(8);
  GenerateOptions options;
  options.sampling.max_new_tokens = 5;
  options.routing = true;
  const auto prompts = questions();
  const auto out = run(*model, 3, options, requests_of(prompts));
  for (size_t i = 0; i < prompts.size(); ++i) {
    const auto expected = generate(*model, {prompts[i]}, options)[0].routing;
    const auto& found = out.answers.at(i).generation.routing;
    ASSERT_EQ(found.size(), 4u);
    for (size_t t = 0; t < 4; ++t) {
      EXPECT_EQ(found[t].top_expert, expected[t].top_expert) << i << " " << t;
      EXPECT_EQ(found[t].skill, expected[t].skill) << i << " " << t;
    }
  }
}

TEST(AnswerAll, RefusesAnEmptyPromptAndNoPlaces) {
  auto model = tests::tiny_sparse_model(8);
  EXPECT_THROW(run(*model, 2, {}, {{0, {}, {}}}), Error);
  EXPECT_THROW(run(*model, 0, {}, {}), Error);
  EXPECT_EQ(run(*model, 2, {}, {}).report.answers, 0);
}

}  // namespace
}  // namespace mose::infer
