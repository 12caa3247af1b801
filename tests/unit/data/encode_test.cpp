#include "mose/data/encode.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>

#include "mose/core/error.h"
#include "mose/text/chat.h"
#include "support/helpers.h"

namespace mose::data {
namespace {

using ::testing::ElementsAre;
using ::testing::Each;
using ::testing::HasSubstr;

const char* const kAnswer = "Description: A red car ahead. Rain falls.\nPlan: Slow down now.";

skills::Taxonomy taxonomy() {
  return skills::Taxonomy::from_json(parse_json(R"({
      "name": "test",
      "stages": [{"name": "describe", "header": "Description:"}, {"name": "plan", "header": "Plan:"}],
      "skills": [{"name": "vehicle", "stage": "describe"}, {"name": "position", "stage": "describe"},
                 {"name": "longitudinal", "stage": "plan"}]})", "test"), "test");
}

text::Tokenizer tokenizer() {
  const std::vector<std::string> texts(3, std::string("What is there? ") + kAnswer);
  return text::train_byte_bpe(texts, 330, {"<image>", "<|im_start|>", "<|im_end|>", "</s>"});
}

// The bytes of `part` in the answer.
std::pair<int64_t, int64_t> bytes_of(const std::string& part) {
  const auto begin = static_cast<int64_t>(std::string(kAnswer).find(part));
  return {begin, begin + static_cast<int64_t>(part.size())};
}

skills::Label label(const std::string& part, int64_t stage, int64_t skill, double confidence) {
  const auto [begin, end] = bytes_of(part);
  return {begin, end, stage, skill, "test", confidence};
}

skills::Sample sample() {
  skills::Sample sample;
  sample.id = "val_0001/single";
  sample.image = "val/images/0001.jpg";
  sample.task = "scene";
  sample.question = "What is there?";
  sample.answer = kAnswer;
  const auto plan = bytes_of("Plan:").first;
  sample.segments = {{0, plan, 0}, {plan, static_cast<int64_t>(sample.answer.size()), 1}};
  sample.labels = {label("A red car ahead.", 0, 0, 0.8), label("ahead", 0, 1, 0.4),
                   label("Slow down now.", 1, -1, 1.0)};
  return sample;
}

const vision::ImageLayout kLayout{6};  // six rows an image

EncodeConfig config_with(const std::string& granularity = "token", double prompt_weight = 0) {
  EncodeConfig config;
  config.granularity = granularity;
  config.prompt_label_weight = prompt_weight;
  return config;
}

// The label of the row whose token covers byte `at` of the answer; null when it has none.
const SoftLabel* label_at(const RowLabels& labels, const Encoded& encoded,
                          const text::Tokenizer& tokenizer, int64_t at) {
  const std::vector<text::TokenSpan> spans = tokenizer.encode_spans(kAnswer);
  for (size_t i = 0; i < spans.size(); ++i) {
    if (at < spans[i].begin || at >= spans[i].end) continue;
    const int32_t index = labels.row[static_cast<size_t>(encoded.prompt_length) + i];
    return index < 0 ? nullptr : &labels.labels[static_cast<size_t>(index)];
  }
  return nullptr;
}

TEST(EncodePrompt, HoldsOneRowForEachImagePatch) {
  const text::Tokenizer tokens = tokenizer();
  const std::vector<int64_t> with = encode_prompt("What is there?", tokens, config_with(), kLayout.rows());
  const int64_t image = tokens.token_to_id("<image>");
  EXPECT_EQ(std::count(with.begin(), with.end(), image), 6);
  const auto first = std::find(with.begin(), with.end(), image);
  EXPECT_EQ(std::count(first, first + 6, image), 6) << "the rows are one run";
  std::vector<int64_t> once(with.begin(), first + 1);
  once.insert(once.end(), first + 6, with.end());
  EXPECT_EQ(once, tokens.encode("<|im_start|>user\n<image>\nWhat is there?<|im_end|>\n"
                                "<|im_start|>assistant\n"));
}

TEST(EncodePrompt, WithoutImageHasNoImageRows) {
  const text::Tokenizer tokens = tokenizer();
  const auto ids = encode_prompt("Hello", tokens, config_with(), 0);
  EXPECT_EQ(ids, tokens.encode("<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"));
}

TEST(EncodePrompt, RefusesAnImageTokenInTheQuestion) {
  const text::Tokenizer tokens = tokenizer();
  const auto encode = [&] { encode_prompt("Look <image> here", tokens, config_with(), kLayout.rows()); };
  EXPECT_THAT(message_of<DataError>(encode), HasSubstr("image token"));
}

TEST(EncodeSample, EachRowPredictsTheNextTokenOfTheAnswerAndThenTheEndOfTurn) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with(), kLayout);
  const std::vector<int64_t> prompt = encode_prompt("What is there?", tokens, config_with(), kLayout.rows());
  const std::vector<int64_t> answer = tokens.encode(kAnswer);
  std::vector<int64_t> all = prompt;
  all.insert(all.end(), answer.begin(), answer.end());
  EXPECT_EQ(encoded.tokens, all);
  EXPECT_EQ(encoded.prompt_length, static_cast<int64_t>(prompt.size()));
  all.push_back(tokens.token_to_id("<|im_end|>"));
  for (size_t t = 0; t < encoded.tokens.size(); ++t) {
    EXPECT_EQ(encoded.targets[t], t + 1 < prompt.size() ? -100 : all[t + 1]) << "row " << t;
  }
  EXPECT_EQ(encoded.cut_tokens, 0);
}

TEST(EncodeSample, SegmentsAreTheStageOfTheTarget) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with(), kLayout);
  const auto spans = tokens.encode_spans(kAnswer);
  const auto plan = bytes_of("Plan:").first;
  const auto prompt = static_cast<size_t>(encoded.prompt_length);
  for (size_t t = 0; t + 1 < prompt; ++t) EXPECT_EQ(encoded.segments[t], -1);
  for (size_t i = 0; i < spans.size(); ++i) {
    EXPECT_EQ(encoded.segments[prompt + i - 1], spans[i].end > plan ? 1 : 0) << "answer token " << i;
  }
  EXPECT_EQ(encoded.segments.back(), -1) << "the end of the turn belongs to no stage";
}

TEST(EncodeSample, TokensCarryTheLabelsTheyShareBytesWith) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with(), kLayout);
  const SoftLabel* red = label_at(encoded.skills, encoded, tokens, bytes_of("red").first);
  ASSERT_NE(red, nullptr);
  EXPECT_THAT(red->classes, ElementsAre(std::pair(0, 1.0f)));
  EXPECT_FLOAT_EQ(red->weight, 0.8f);
  // Both labels cover "ahead": 0.8 and 0.4 become 2/3 and 1/3.
  const SoftLabel* ahead = label_at(encoded.skills, encoded, tokens, bytes_of("ahead").first + 1);
  ASSERT_NE(ahead, nullptr);
  ASSERT_EQ(ahead->classes.size(), 2u);
  EXPECT_FLOAT_EQ(ahead->classes[0].second, 2.0f / 3);
  EXPECT_FLOAT_EQ(ahead->classes[1].second, 1.0f / 3);
  EXPECT_FLOAT_EQ(ahead->weight, 0.8f);
  // A skill supplies its stage.
  const SoftLabel* stage = label_at(encoded.stages, encoded, tokens, bytes_of("ahead").first + 1);
  ASSERT_NE(stage, nullptr);
  EXPECT_THAT(stage->classes, ElementsAre(std::pair(0, 1.0f)));
  // A stage-level label supplies no skill; text without a label has neither.
  EXPECT_EQ(label_at(encoded.skills, encoded, tokens, bytes_of("down").first), nullptr);
  ASSERT_NE(label_at(encoded.stages, encoded, tokens, bytes_of("down").first), nullptr);
  EXPECT_THAT(label_at(encoded.stages, encoded, tokens, bytes_of("down").first)->classes,
              ElementsAre(std::pair(1, 1.0f)));
  EXPECT_EQ(label_at(encoded.stages, encoded, tokens, bytes_of("Rain").first), nullptr);
  for (int64_t t = 0; t < encoded.prompt_length; ++t) {
    EXPECT_EQ(encoded.stages.row[static_cast<size_t>(t)], -1);
  }
}

TEST(EncodeSample, LeadingWhiteSpaceDoesNotDrawALabel) {
  const text::Tokenizer tokens = tokenizer();
  skills::Sample spaced = sample();
  spaced.labels = {label("ahead. ", 0, 1, 1.0)};  // ends with the space before "Rain"
  const Encoded encoded = encode_sample(spaced, taxonomy(), tokens, config_with(), kLayout);
  EXPECT_NE(label_at(encoded.skills, encoded, tokens, bytes_of("ahead").first), nullptr);
  EXPECT_EQ(label_at(encoded.skills, encoded, tokens, bytes_of("Rain").first), nullptr);
}

TEST(EncodeSample, SpanGranularityGivesASentenceItsMostFrequentLabel) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with("span"), kLayout);
  for (const char* word : {"Description", "red", "ahead", "car"}) {
    const SoftLabel* found = label_at(encoded.skills, encoded, tokens, bytes_of(word).first);
    ASSERT_NE(found, nullptr) << word;
    EXPECT_THAT(found->classes, ElementsAre(std::pair(0, 1.0f))) << word;
  }
  EXPECT_EQ(label_at(encoded.skills, encoded, tokens, bytes_of("Rain").first), nullptr);
  ASSERT_NE(label_at(encoded.stages, encoded, tokens, bytes_of("Plan").first), nullptr);
}

TEST(EncodeSample, SampleGranularityGivesEveryAnswerTokenTheMean) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded fine = encode_sample(sample(), taxonomy(), tokens, config_with(), kLayout);
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with("sample"), kLayout);
  double describe = 0, all = 0, labelled = 0;
  for (const int32_t index : fine.stages.row) {
    if (index < 0) continue;
    const SoftLabel& label = fine.stages.labels[static_cast<size_t>(index)];
    all += label.weight;
    labelled += 1;
    if (label.classes[0].first == 0) describe += label.weight;
  }
  for (size_t t = 0; t < encoded.tokens.size(); ++t) {
    if (static_cast<int64_t>(t) < encoded.prompt_length) {
      EXPECT_EQ(encoded.stages.row[t], -1);
      continue;
    }
    ASSERT_EQ(encoded.stages.row[t], 0);
    const SoftLabel& label = encoded.stages.labels[0];
    EXPECT_NEAR(label.classes[0].second, describe / all, 1e-6);
    EXPECT_NEAR(label.weight, all / labelled, 1e-6);
  }
}

TEST(EncodeSample, PromptRowsMayCarryTheMeanDownWeighted) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded plain = encode_sample(sample(), taxonomy(), tokens, config_with("sample"), kLayout);
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config_with("token", 0.25), kLayout);
  const SoftLabel& mean = plain.skills.labels[0];
  for (int64_t t = 0; t < encoded.prompt_length; ++t) {
    const int32_t index = encoded.skills.row[static_cast<size_t>(t)];
    ASSERT_GE(index, 0);
    const SoftLabel& label = encoded.skills.labels[static_cast<size_t>(index)];
    EXPECT_EQ(label.classes, mean.classes);
    EXPECT_FLOAT_EQ(label.weight, 0.25f * mean.weight);
  }
  EXPECT_EQ(label_at(encoded.skills, encoded, tokens, bytes_of("Rain").first), nullptr);
}

TEST(EncodeSample, UnlabelledSampleHasNoRouterLabelsAtAnyGranularity) {
  const text::Tokenizer tokens = tokenizer();
  skills::Sample unlabelled = sample();
  unlabelled.labels.clear();
  for (const char* granularity : {"token", "span", "sample"}) {
    const Encoded encoded = encode_sample(unlabelled, taxonomy(), tokens, config_with(granularity, 0.5), kLayout);
    EXPECT_THAT(encoded.stages.row, Each(-1));
    EXPECT_THAT(encoded.skills.row, Each(-1));
  }
}

TEST(EncodeSample, LongAnswersAreCutAndCounted) {
  const text::Tokenizer tokens = tokenizer();
  const Encoded whole = encode_sample(sample(), taxonomy(), tokens, config_with(), kLayout);
  EncodeConfig config = config_with();
  config.max_tokens = whole.length() - 4;
  const Encoded cut = encode_sample(sample(), taxonomy(), tokens, config, kLayout);
  EXPECT_EQ(cut.cut_tokens, 4);
  ASSERT_EQ(cut.length(), whole.length() - 4);
  for (size_t t = 0; t < cut.tokens.size(); ++t) {
    EXPECT_EQ(cut.tokens[t], whole.tokens[t]);
    EXPECT_EQ(cut.targets[t], whole.targets[t]);
    EXPECT_EQ(cut.skills.row[t], whole.skills.row[t]);
  }
  config.max_tokens = whole.prompt_length;
  const auto encode = [&] { encode_sample(sample(), taxonomy(), tokens, config, kLayout); };
  EXPECT_THAT(message_of<DataError>(encode), HasSubstr("val_0001/single"));
}

TEST(EncodeSample, TemplatesThatPutASpaceBeforeTheAnswerKeepItsByteSpans) {
  const text::Tokenizer tokens = tokenizer();
  EncodeConfig config = config_with();
  config.chat_template = "vicuna";
  const Encoded encoded = encode_sample(sample(), taxonomy(), tokens, config, kLayout);
  const std::vector<int64_t> answer(encoded.tokens.begin() + encoded.prompt_length, encoded.tokens.end());
  EXPECT_EQ(tokens.decode(answer), std::string(" ") + kAnswer);
  EXPECT_EQ(encoded.targets.back(), tokens.token_to_id("</s>"));
  // The labelled tokens, decoded, are the labelled text.
  std::vector<int64_t> vehicle;
  for (size_t t = 0; t < encoded.tokens.size(); ++t) {
    if (encoded.skills.row[t] >= 0) vehicle.push_back(encoded.tokens[t]);
  }
  EXPECT_EQ(tokens.decode(vehicle), " A red car ahead.");
}

TEST(EncodeSample, BadSamplesAreDataErrorsThatNameThem) {
  const text::Tokenizer tokens = tokenizer();
  const auto message = [&](const std::function<void(skills::Sample&)>& spoil) {
    skills::Sample bad = sample();
    spoil(bad);
    return message_of<DataError>([&] { encode_sample(bad, taxonomy(), tokens, config_with(), kLayout); });
  };
  EXPECT_THAT(message([](auto& s) { s.labels[1].end = 10000; }), HasSubstr("val_0001/single: label 1"));
  EXPECT_THAT(message([](auto& s) { s.labels[0].skill = 3; }), HasSubstr("skill 3"));
  EXPECT_THAT(message([](auto& s) { s.labels[0].confidence = 0; }), HasSubstr("confidence"));
  EXPECT_THAT(message([](auto& s) { s.segments[1].stage = 2; }), HasSubstr("segment 1"));
  EXPECT_THAT(message([](auto& s) { s.answer += "<image>"; }), HasSubstr("image token"));
  EXPECT_THAT(message([](auto& s) {
                s.answer.clear();
                s.labels.clear();
                s.segments.clear();
              }),
              HasSubstr("answer is empty"));
}

TEST(EncodeSample, NeedsTheTemplatesTokens) {
  const text::Tokenizer bare = text::train_byte_bpe({kAnswer}, 270, {"<image>", "<|im_start|>"});
  const auto encode = [&] { encode_sample(sample(), taxonomy(), bare, config_with(), kLayout); };
  EXPECT_THAT(message_of<DataError>(encode), HasSubstr("<|im_end|>"));
  const text::Tokenizer no_image = text::train_byte_bpe({kAnswer}, 270, {"<|im_start|>", "<|im_end|>"});
  const auto encode_image = [&] { encode_sample(sample(), taxonomy(), no_image, config_with(), kLayout); };
  EXPECT_THAT(message_of<DataError>(encode_image), HasSubstr("<image>"));
}

}  // namespace
}  // namespace mose::data
