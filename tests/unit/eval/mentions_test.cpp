#include "mose/eval/mentions.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mose/coda/annotation.h"
#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/eval/cider.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

MentionLexicon shipped() {
  return MentionLexicon::load(resource("facts/coda_mentions.json"));
}

TEST(Mentions, TheLongestPhraseCountsAndPluralsDo) {
  const MentionLexicon lexicon = shipped();
  EXPECT_THAT(lexicon.categories("Two Construction Vehicles and traffic cones; a stop sign."),
              ElementsAre("construction_vehicle", "traffic_cone", "traffic_sign"));
  EXPECT_THAT(lexicon.categories("A garbage truck passes garbage bags and dustbins."),
              ElementsAre("dustbin", "garbage_bag", "truck"));
  EXPECT_THAT(lexicon.categories("Boxes."), ElementsAre());
}

TEST(Mentions, WhatIsIgnoredOrNegatedIsNotMentioned) {
  const MentionLexicon lexicon = shipped();
  EXPECT_THAT(lexicon.categories("The ego car should stop at the pedestrian crossing."),
              ElementsAre());
  EXPECT_THAT(lexicon.categories("There are no traffic lights. A bus is ahead, no other cars."),
              ElementsAre("bus"));
  // A negation ends with its sentence.
  EXPECT_THAT(lexicon.categories("Is it safe? No. Dogs are near."), ElementsAre("dog"));
}

TEST(Mentions, EveryCategoryHasPhrasesOfItsOwn) {
  const Json json = load_json(resource("facts/coda_mentions.json"));
  for (const std::string& name : coda::category_names()) {
    EXPECT_TRUE(json["categories"].contains(name)) << name;
  }
}

TEST(Mentions, PrecisionAndRecallOfClassesAndCategories) {
  const MentionLexicon lexicon = shipped();
  MentionScore score(lexicon);
  score.add("A truck and a dog.", "A bus, a cone and a dog.");
  const Json json = score.to_json();
  // Categories: dog of {truck, dog} and {bus, cone, dog}; classes: vehicle and miscellaneous of 2
  // said and 3 true.
  EXPECT_NEAR(json["categories"]["precision"], 1 / 2.0, 1e-12);
  EXPECT_NEAR(json["categories"]["recall"], 1 / 3.0, 1e-12);
  EXPECT_NEAR(json["classes"]["precision"], 1, 1e-12);
  EXPECT_NEAR(json["classes"]["recall"], 2 / 3.0, 1e-12);
  EXPECT_EQ(json["classes"]["per_class"]["cone"]["recall"], 0);
}

TEST(Mentions, BadLexiconsNameFileTableAndValue) {
  TemporaryFolder folder;
  const auto file = folder.path / "lexicon.json";
  const auto load = [&](const char* text) {
    save_json(file, Json::parse(text));
    return message_of<DataError>([&] { MentionLexicon::load(file); });
  };
  EXPECT_THAT(load(R"({"categories": {"spaceship": ["ufo"]}})"),
              HasSubstr("lexicon.json: categories.spaceship: CODA has no such category"));
  EXPECT_THAT(load(R"({"categories": {"bus": []}})"), HasSubstr("categories.bus: expected a list"));
  EXPECT_THAT(load(R"({"categories": {"bus": ["!"]}})"), HasSubstr("\"!\": expected words"));
  EXPECT_THAT(load(R"({"categories": {"bus": ["coach"], "tram": ["Coach"]}})"),
              HasSubstr("\"Coach\" is listed twice"));
  EXPECT_THAT(load(R"({"categories": {"bus": ["bus"]}})"), HasSubstr("ignore"));
}

TEST(Cider, HandComputedTwoItems) {
  // N = 2, log 2 for n-grams of one reference, 0 for "the", which both have.
  const TokenLists references = {{"the", "red", "car"}, {"the", "old", "dog"}};
  const auto scores = cider_d({{"the", "red", "car"}, {"the", "old", "cat"}}, references).scores;
  // Equal texts: cosine 1 for orders 1 to 3; there is no 4-gram.
  EXPECT_NEAR(scores[0], 10 * 3 / 4.0, 1e-12);
  // Order 1: (old, cat) against (old, dog): 1/2; order 2: (the old) of two each: 1/2; order 3: 0.
  EXPECT_NEAR(scores[1], 10 * (0.5 + 0.5) / 4, 1e-12);
}

TEST(Cider, LengthsApartAreFinedAndRepeatsAreClipped) {
  const TokenLists references = {{"a", "b"}, {"c", "d"}};
  // Order 1: hypothesis weights a 3L, b L; clipped dot = L² + L²; norms √10 L, √2 L.
  // Order 2: a-a twice, a-b; dot L²; norms √5 L, L. Bigrams: 3 against 1.
  const auto scores = cider_d({{"a", "a", "a", "b"}, {}}, references).scores;
  EXPECT_NEAR(scores[0], 10 * std::exp(-4 / 72.0) * (2 / std::sqrt(20) + 1 / std::sqrt(5)) / 4,
              1e-12);
  EXPECT_EQ(scores[1], 0);
  EXPECT_EQ(cider_d({{"a", "b"}}, {{"a", "b"}}).mean, 0);
  EXPECT_THROW(cider_d({{}}, {}), Error);
}

}  // namespace
}  // namespace mose::eval
