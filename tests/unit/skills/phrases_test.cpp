#include "mose/skills/phrases.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mose/core/error.h"

namespace mose::skills {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::string> texts(std::string_view text, const std::vector<Span>& spans) {
  std::vector<std::string> out;
  for (const Span& span : spans) out.emplace_back(span.of(text));
  return out;
}

std::vector<std::string> split_sentences(std::string_view text) { return texts(text, sentences(text)); }

TEST(Sentences, EndAtPunctuationBeforeWhiteSpaceAndAtLineBreaks) {
  EXPECT_THAT(split_sentences(" One. Two!  Three? (Four.) five\nSix"),
              ElementsAre("One.", "Two!", "Three?", "(Four.)", "five", "Six"));
  EXPECT_THAT(split_sentences("  \n "), IsEmpty());
}

TEST(Sentences, KeepNumbersAndAbbreviationsWhole) {
  EXPECT_THAT(split_sentences("1. Keep 2.5 m away, e.g. from vans. 2. Stop."),
              ElementsAre("1. Keep 2.5 m away, e.g. from vans.", "2. Stop."));
}

TEST(Clauses, BreakAtCommasAndBeforeTheGivenWords) {
  const std::string text = "Slow down, stop and wait because it is near.";
  EXPECT_THAT(texts(text, clauses(text, {0, static_cast<int64_t>(text.size())}, {"and", "because"})),
              ElementsAre("Slow down,", "stop", "and wait", "because it is near."));
}

TEST(Words, AreLowerCaseAndKeepNonAsciiLetters) {
  std::vector<std::string> found;
  for (const Word& word : words("The STRASSE is 3 m, straße-like; don't")) found.push_back(word.text);
  EXPECT_THAT(found, ElementsAre("the", "strasse", "is", "3", "m", "straße", "like", "don't"));
}

TEST(Phrase, MatchesWholeWordsPrefixesAlternativesAndGaps) {
  const auto matches = [](const std::string& pattern, const std::string& text) {
    return Phrase(pattern).find(words(text)) >= 0;
  };
  EXPECT_TRUE(matches("car/cars", "Two CARS."));
  EXPECT_FALSE(matches("car", "A cart."));
  EXPECT_TRUE(matches("block*", "It blocks the way"));
  EXPECT_TRUE(matches("may ~ cross*", "He may then suddenly be crossing it"));
  EXPECT_FALSE(matches("may ~ cross*", "He may one two three four five cross"));
  EXPECT_FALSE(matches("speed limit", "The limit of speed"));
}

TEST(Phrase, RefusesPatternsThatMatchAnything) {
  for (const char* bad : {"", "~", "a ~", "a//b", "*"}) EXPECT_THROW(Phrase{bad}, DataError) << bad;
}

TEST(Without, LeavesOutEveryMatch) {
  std::vector<std::string> left;
  for (const Word& word : without(words("the ego car sees a car, the ego vehicle"), {Phrase("ego car/vehicle")})) {
    left.push_back(word.text);
  }
  EXPECT_THAT(left, ElementsAre("the", "sees", "a", "car", "the"));
}

TEST(Similarity, IsTheDiceCoefficientOfTheWordsLeft) {
  EXPECT_DOUBLE_EQ(similarity("a white truck", "the white truck", {"a", "the"}), 1.0);
  EXPECT_DOUBLE_EQ(similarity("white truck", "red truck", {}), 0.5);
  EXPECT_DOUBLE_EQ(similarity("truck truck", "truck", {}), 2.0 / 3.0);
  EXPECT_DOUBLE_EQ(similarity("the", "the", {"the"}), 0.0);
}

}  // namespace
}  // namespace mose::skills
