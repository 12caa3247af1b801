#include "mose/skills/agreement.h"

#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "support/helpers.h"

namespace mose::skills {
namespace {

const Taxonomy& taxonomy() {
  static const auto loaded = Taxonomy::load(resource("skills/driving.json"));
  return loaded;
}

TEST(AnswerSentences, HaveTheirHeadersStageAndLieInTheText) {
  const std::string answer = "Description:\nA red car. It is near!\nPlan:\nSlow down.";
  const auto found = answer_sentences(answer, {}, taxonomy());
  ASSERT_EQ(found.size(), 3);
  EXPECT_EQ(found[0].span.of(answer), "A red car.");
  EXPECT_EQ(found[1].span.of(answer), "It is near!");
  EXPECT_EQ(found[2].span.of(answer), "Slow down.");
  EXPECT_EQ(found[1].stage, 0);
  EXPECT_EQ(found[2].stage, 2);
  // Without headers by the segments, else unknown.
  const std::string plain = "Slow down. Keep left.";
  EXPECT_EQ(answer_sentences(plain, {{0, 21, 2}}, taxonomy())[1].stage, 2);
  EXPECT_EQ(answer_sentences(plain, {}, taxonomy())[0].stage, -1);
}

TEST(SentenceSkills, ALabelIsOfTheSentenceThatHoldsMostOfIt) {
  const std::vector<Sentence> sentences = {{{0, 10}, 0}, {{11, 30}, 0}};
  const auto found = sentence_skills(sentences, {{0, 10, 0, 3, "a", 1}, {6, 25, 0, 4, "b", 1}, {0, 30, 0, -1, "c", 1}, {40, 50, 0, 5, "d", 1}});
  EXPECT_EQ(found[0], std::set<int64_t>{3});
  EXPECT_EQ(found[1], std::set<int64_t>{4});
}

TEST(Agreement, KappaIsThatOfTheTextbook) {
  // Cohen's table of 20 both, 5 and 10 alone, 15 neither: share 0.7, chance 0.5, kappa 0.4.
  const SkillAgreement a{20, 5, 10, 15};
  EXPECT_DOUBLE_EQ(a.share(), 0.7);
  EXPECT_NEAR(*a.kappa(), 0.4, 1e-12);
  EXPECT_NEAR(*(SkillAgreement{4, 0, 0, 6}).kappa(), 1, 1e-12);
  EXPECT_LT(*(SkillAgreement{0, 5, 5, 0}).kappa(), 0);
  EXPECT_FALSE((SkillAgreement{0, 0, 0, 9}).kappa());
  EXPECT_FALSE((SkillAgreement{}).kappa());
}

TEST(Agreement, CountsPairsOfSentenceAndSkill) {
  Agreement agreement(taxonomy());
  agreement.add({{0, 1}, {2}, {}}, {{0}, {2, 3}, {}});
  const Json json = agreement.to_json();
  EXPECT_EQ(json["sentences"], 3);
  EXPECT_EQ(agreement.skills()[0].both, 1);
  EXPECT_EQ(agreement.skills()[1].first, 1);
  EXPECT_EQ(agreement.skills()[3].second, 1);
  EXPECT_EQ(agreement.skills()[2].neither, 2);
  const auto n = static_cast<double>(3 * taxonomy().skills().size());
  EXPECT_DOUBLE_EQ(json["share"].get<double>(), (n - 2) / n);
  EXPECT_TRUE(json["skills"]["junction_merge"]["kappa"].is_null());
  EXPECT_DOUBLE_EQ(json["skills"][taxonomy().skills()[0].name]["kappa"].get<double>(), 1);
  EXPECT_THROW(agreement.add({{0}}, {}), Error);
}

}  // namespace
}  // namespace mose::skills
