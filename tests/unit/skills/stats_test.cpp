#include "mose/skills/stats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helpers.h"

namespace mose::skills {
namespace {

using ::testing::HasSubstr;

// Ten words: the first four describe a vehicle, two of them also a place; the last two are a plan.
Sample ten_words() {
  const Taxonomy& t = test::taxonomy();
  Sample s;
  s.form = "single_turn";
  s.task = "scene";
  s.answer = "one two three four five six seven eight nine ten";
  const auto at = [&](const char* word) { return static_cast<int64_t>(s.answer.find(word)); };
  const int64_t describe = t.stage_index("describe"), plan = t.stage_index("plan");
  s.labels = {{0, at(" five"), describe, -1, "struct.description", 1.0},
              {0, at(" five"), describe, t.skill_index("vehicle"), "struct.description", 1.0},
              {at("three"), at(" five"), describe, t.skill_index("position_lane"), "lex.position_lane", 0.8},
              {at("four"), at(" five"), describe, t.skill_index("position_lane"), "lex.position_lane", 0.4},
              {at("nine"), static_cast<int64_t>(s.answer.size()), plan, -1, "judge.model", 0.5}};
  return s;
}

const Coverage& row(const std::vector<Coverage>& rows, const std::string& name) {
  for (const Coverage& r : rows) {
    if (r.name == name) return r;
  }
  throw std::out_of_range(name);
}

TEST(Stats, CountWordsUnderLabelsOnce) {
  const Stats stats = collect_stats({ten_words(), ten_words()}, test::taxonomy(), word_units());
  EXPECT_EQ(stats.samples, 2);
  EXPECT_EQ(stats.units, 20);
  EXPECT_EQ(stats.with_stage, 12);
  EXPECT_EQ(stats.with_skill, 8);
  EXPECT_EQ(stats.tasks.at("single_turn/scene"), 2);
  EXPECT_EQ(row(stats.stages, "describe").units, 8);
  EXPECT_EQ(row(stats.stages, "plan").units, 4);
  EXPECT_EQ(row(stats.stages, "reason").labels, 0);
  const Coverage& place = row(stats.skills, "position_lane");
  EXPECT_EQ(place.samples, 2);
  EXPECT_EQ(place.labels, 4);
  EXPECT_EQ(place.units, 4);
  EXPECT_NEAR(place.confidence, 0.6, 1e-12);
}

TEST(Stats, CountTheTokensOfATokenizer) {
  // 256 entries are the bytes alone, so a token is a byte.
  const auto bytes = std::make_shared<text::Tokenizer>(text::train_byte_bpe({"one two"}, 256, {}));
  const Sample sample = ten_words();
  const Stats stats = collect_stats({sample}, test::taxonomy(), token_units(bytes));
  EXPECT_EQ(stats.unit, "tokens");
  EXPECT_EQ(stats.units, static_cast<int64_t>(sample.answer.size()));
  EXPECT_EQ(row(stats.stages, "describe").units, static_cast<int64_t>(sample.answer.find(" five")));
}

TEST(Stats, ListEveryRuleAndThoseOfOtherAnnotators) {
  const Stats stats = collect_stats({ten_words()}, test::taxonomy(), word_units());
  EXPECT_EQ(stats.rules.size(), test::annotator().rule_ids().size() + 1);
  EXPECT_EQ(row(stats.rules, "judge.model").units, 2);
  EXPECT_EQ(row(stats.rules, "lex.lateral").labels, 0);
}

TEST(Stats, AsJsonAndAsATable) {
  const Stats stats = collect_stats({ten_words()}, test::taxonomy(), word_units());
  const Json json = stats_to_json(stats);
  EXPECT_EQ(json["coverage"]["stage"], 0.6);
  EXPECT_EQ(json["words"], 10);
  EXPECT_EQ(json["skills"][0]["name"], "vehicle");
  EXPECT_EQ(json["skills"][0]["share"], 0.4);
  const std::string table = stats_to_table(stats);
  EXPECT_THAT(table, HasSubstr("60.0 % with a stage, 40.0 % with a skill"));
  EXPECT_THAT(table, HasSubstr("vehicle"));
}

}  // namespace
}  // namespace mose::skills
