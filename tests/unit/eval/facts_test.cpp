#include "mose/eval/facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/resources.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;

class Extractor : public testing::Test {
 protected:
  FactSet read(const std::string& text) const { return lexicon.extract(text); }
  const FactLexicon lexicon = FactLexicon::load(resource("facts/driving.json"));
};

TEST_F(Extractor, JoinsAClassWithThePlaceThatFollows) {
  EXPECT_THAT(read("A red car drives in the left lane and a dog is on the right side of the road.")
                  .describe,
              UnorderedElementsAre("car@left_lane", "dog@right_roadside"));
}

TEST_F(Extractor, JoinsPlacesWithTheNextClassInASentenceThatBeginsWithAPlace) {
  EXPECT_THAT(
      read("In the left lane there is a bus, and on the left sidewalk, a pedestrian.").describe,
      UnorderedElementsAre("bus@left_lane", "pedestrian@left_roadside"));
}

TEST_F(Extractor, ReadsTheLongestPhrase) {
  EXPECT_THAT(read("A construction vehicle stands in front of the ego car.").describe,
              ElementsAre("construction_vehicle@ego_lane"));
  EXPECT_THAT(read("A red traffic light hangs above the road.").describe,
              ElementsAre("traffic_light@overhead"));
  EXPECT_THAT(read("There is a stop sign on the right roadside.").plan, IsEmpty());
}

TEST_F(Extractor, TakesTheEgoCarForNoObject) {
  EXPECT_THAT(read("The ego car is in the left lane.").describe, IsEmpty());
}

TEST_F(Extractor, MatchesWholeWordsInAnyLetterCase) {
  EXPECT_THAT(read("The CARPET is in the left lane. A Traffic_Cone is in the EGO LANE.").describe,
              ElementsAre("traffic_cone@ego_lane"));
}

TEST_F(Extractor, ReadsWeatherAndTime) {
  EXPECT_THAT(read("It is a rainy night on a highway.").describe,
              UnorderedElementsAre("weather:rain", "time:night"));
}

TEST_F(Extractor, JoinsARiskWithTheClassBeforeItElseWithTheNextOneElseWithTheSentenceBefore) {
  EXPECT_THAT(read("The pedestrian may cross the road.").reason,
              ElementsAre("pedestrian:crossing"));
  EXPECT_THAT(read("There is a risk of a collision with the dog.").reason,
              ElementsAre("dog:collision"));
  EXPECT_THAT(read("A barrier is ahead. It blocks the ego lane.").reason,
              ElementsAre("barrier:blockage"));
  EXPECT_THAT(read("It blocks the ego lane.").reason, IsEmpty());
}

TEST_F(Extractor, ReadsActionsAndStatesNoPlaceForALaneChange) {
  const FactSet facts = read("Slow down because of the cones and change to the left lane.");
  EXPECT_THAT(facts.plan, UnorderedElementsAre("slow_down", "change_lane_left"));
  EXPECT_THAT(facts.describe, IsEmpty());
}

TEST_F(Extractor, ReadsAnObjectsPlaceInASuggestionToo) {
  const FactSet facts = read("Watch the dog on the left roadside.");
  EXPECT_THAT(facts.plan, ElementsAre("stay_alert"));
  EXPECT_THAT(facts.describe, ElementsAre("dog@left_roadside"));
}

TEST_F(Extractor, LeavesOutWhatIsDenied) {
  EXPECT_THAT(read("Do not stop, but slow down.").plan, ElementsAre("slow_down"));
  EXPECT_THAT(read("There is no need to slow down.").plan, IsEmpty());
  EXPECT_THAT(read("There is no pedestrian in the ego lane.").describe, IsEmpty());
}

TEST_F(Extractor, TellsWhatACarMayDoFromWhatToDo) {
  const FactSet facts = read("The truck could stop suddenly, so keep a safe distance.");
  EXPECT_THAT(facts.reason, ElementsAre("truck:braking"));
  EXPECT_THAT(facts.plan, ElementsAre("keep_distance"));
}

TEST_F(Extractor, FindsNothingInTextWithoutFacts) {
  for (const char* text : {"", "...", "A car. A bus.", "\xff\xfe left", "the the the"}) {
    const FactSet facts = read(text);
    EXPECT_THAT(facts.describe, IsEmpty()) << text;
    EXPECT_THAT(facts.reason, IsEmpty()) << text;
    EXPECT_THAT(facts.plan, IsEmpty()) << text;
  }
}

TEST_F(Extractor, KnowsItsVocabularies) {
  EXPECT_EQ(lexicon.classes().size(), 20u);
  EXPECT_THAT(lexicon.places(), ElementsAre("left_roadside", "left_lane", "ego_lane", "right_lane",
                                            "right_roadside", "overhead"));
  EXPECT_EQ(lexicon.risks().size(), 8u);
  EXPECT_EQ(lexicon.actions().size(), 10u);
}

class FactFiles : public testing::Test {
 protected:
  std::string file(const std::string& content) {
    const std::string path = testing::TempDir() + "facts_test.json";
    write_file(path, content);
    return path;
  }
  static std::string lexicon_with(const std::string& classes) {
    return "{\"classes\":" + classes +
           R"(,"places":{"ego_lane":["ego lane"]},"risks":{"low":["low"]},"actions":{"stop":["stop"]},
              "weather":{"fog":["fog"]},"time":{"day":["day"]},"ignore":["ego car"],"negations":["not"]})";
  }
};

TEST_F(FactFiles, LexiconErrorsNameTheValue) {
  auto load = [&](const std::string& classes) {
    return message_of<DataError>([&] { FactLexicon::load(file(lexicon_with(classes))); });
  };
  EXPECT_NO_THROW(FactLexicon::load(file(lexicon_with(R"({"car":["car"]})"))));
  EXPECT_THAT(load(R"({"car":[]})"), HasSubstr("classes.car"));
  EXPECT_THAT(load(R"({"car":["car"],"bus":["Car"]})"), HasSubstr("listed twice"));
  EXPECT_THAT(load(R"({"car":[3]})"), HasSubstr("expected text"));
  EXPECT_THAT(load(R"({"car":["."]})"), HasSubstr("words of one phrase"));
  EXPECT_THAT(message_of<DataError>([&] { FactLexicon::load(file("{}")); }), HasSubstr("classes"));
}

TEST_F(FactFiles, AreReadForTheSceneAndForARegion) {
  const std::string path =
      file(R"({"describe":["weather:fog","dog@ego_lane"],"reason":["dog:collision"],
    "plan":["stop"],"regions":{"1":{"describe":["dog@ego_lane"],"reason":["dog:collision"]}}})");
  EXPECT_EQ(load_facts(path),
            (FactSet{{"weather:fog", "dog@ego_lane"}, {"dog:collision"}, {"stop"}}));
  EXPECT_EQ(load_facts(path, "1"), (FactSet{{"dog@ego_lane"}, {"dog:collision"}, {}}));
  EXPECT_THAT(message_of<DataError>([&] { load_facts(path, "2"); }), HasSubstr("2"));
  EXPECT_THAT(message_of<DataError>([&] { load_facts(file("{\"describe\":[1]}")); }), HasSubstr("expected text"));
}

}  // namespace
}  // namespace mose::eval
