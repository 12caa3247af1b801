#include "mose/eval/text_metrics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

namespace mose::eval {
namespace {

using testing::ElementsAre;

TEST(BleuTokens, SymbolsStandAloneAndNumbersStayWhole) {
  EXPECT_THAT(bleu_tokens("Slow down (now)!"), ElementsAre("Slow", "down", "(", "now", ")", "!"));
  EXPECT_THAT(bleu_tokens("It's 3.5 m, or 1,000."),
              ElementsAre("It's", "3.5", "m", ",", "or", "1,000", "."));
  EXPECT_THAT(bleu_tokens("a 2-lane, left-hand road"),
              ElementsAre("a", "2", "-", "lane", ",", "left-hand", "road"));
  EXPECT_THAT(bleu_tokens("A &amp; B &lt;3 &quot;x&quot;"),
              ElementsAre("A", "&", "B", "<", "3", "\"", "x", "\""));
  EXPECT_THAT(bleu_tokens("..."), ElementsAre(".", ".", "."));
  EXPECT_THAT(bleu_tokens("zone-\nend\nnow"), ElementsAre("zoneend", "now"));
  EXPECT_TRUE(bleu_tokens(" \n ").empty());
}

TEST(Bleu, EqualTextsScoreOneHundred) {
  EXPECT_NEAR(sentence_bleu("the road is closed ahead", "the road is closed ahead"), 100, 1e-9);
}

TEST(Bleu, HandComputedPrecisionsAndBrevityPenalty) {
  // Hypothesis: the cat sat on mat (5); reference: the cat sat on the mat (6).
  // 1-grams 5/5, 2-grams the-cat cat-sat sat-on of 4, 3-grams 2/3, 4-grams 1/2.
  const auto s = bleu_statistics("the cat sat on mat", "the cat sat on the mat");
  EXPECT_THAT(s.matches, ElementsAre(5, 3, 2, 1));
  EXPECT_THAT(s.totals, ElementsAre(5, 4, 3, 2));
  const double expected = 100 * std::exp(1 - 6.0 / 5) * std::pow(1.0 * 3 / 4 * 2 / 3 * 1 / 2, 0.25);
  EXPECT_NEAR(bleu(s, false), expected, 1e-9);
}

TEST(Bleu, MatchesAreClippedByTheReference) {
  const auto s = bleu_statistics("the the the the", "the cat");
  EXPECT_THAT(s.matches, ElementsAre(1, 0, 0, 0));
  // Orders 2 to 4 have no match: 1/(2·3), 1/(4·2), 1/(8·1).
  EXPECT_NEAR(bleu(s, false), 100 * std::pow(1.0 / 4 * 1 / 6 * 1 / 8 * 1 / 8, 0.25), 1e-9);
}

TEST(Bleu, ShortSentencesUseTheOrdersTheyHave) {
  EXPECT_NEAR(sentence_bleu("slow down", "slow down"), 100, 1e-9);
  EXPECT_EQ(bleu(bleu_statistics("slow down", "slow down"), false), 0);
}

TEST(Bleu, NothingInCommonAndNothingAtAllScoreZero) {
  EXPECT_EQ(sentence_bleu("slow down", "keep left"), 0);
  EXPECT_EQ(sentence_bleu("", "keep left"), 0);
  EXPECT_EQ(sentence_bleu("keep left", ""), 0);
}

TEST(Bleu, CorpusSumsCountsBeforeDividing) {
  BleuStatistics sum = bleu_statistics("a b c d", "a b c d");
  sum += bleu_statistics("x y z w", "a b c d");
  EXPECT_THAT(sum.matches, ElementsAre(4, 3, 2, 1));
  EXPECT_THAT(sum.totals, ElementsAre(8, 6, 4, 2));
  EXPECT_NEAR(bleu(sum, false), 50, 1e-9);
}

TEST(RougeTokens, LowerCaseLettersAndDigitsOnly) {
  EXPECT_THAT(rouge_tokens("Slow-down: 30 km/h!"), ElementsAre("slow", "down", "30", "km", "h"));
}

TEST(RougeL, HandComputedSubsequence) {
  // Lin (2004): police killed the gunman / police kill the gunman share "police the gunman".
  const RougeL r = rouge_l("Police kill the gunman", "police killed the gunman");
  EXPECT_NEAR(r.f1, 0.75, 1e-12);
  // "the gunman kill police" shares only "the gunman".
  EXPECT_NEAR(rouge_l("the gunman kill police", "police killed the gunman").f1, 0.5, 1e-12);
}

TEST(RougeL, PrecisionAndRecallDivideByTheirOwnLengths) {
  const RougeL r = rouge_l("a b", "a x b y z");
  EXPECT_NEAR(r.precision, 1, 1e-12);
  EXPECT_NEAR(r.recall, 0.4, 1e-12);
  EXPECT_NEAR(r.f1, 2 * 0.4 / 1.4, 1e-12);
}

TEST(RougeL, EmptyTextsScoreZero) {
  EXPECT_EQ(rouge_l("", "a").f1, 0);
  EXPECT_EQ(rouge_l("a", "...").f1, 0);
}

}  // namespace
}  // namespace mose::eval
