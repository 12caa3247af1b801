// Every rule of configs/skills/driving.json on a text written for it.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helpers.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::skills {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;

// A lexicon rule: a text of its stage, the spans it must label, and a text that it must leave alone.
struct LexiconCase {
  const char* rule;
  const char* part;  // the structure rule that the text comes under
  const char* text;
  std::vector<std::string> expected;
  const char* other;
};

const std::vector<LexiconCase>& lexicon_cases() {
  static const std::vector<LexiconCase> cases = {
      {"lex.vehicle", "struct.scene", "Two vans are parked, the street is wide.",
       {"describe/vehicle: Two vans are parked,"}, "The ego car is on a road."},
      {"lex.vulnerable_road_user", "struct.scene", "The road is straight and a cyclist rides along.",
       {"describe/vulnerable_road_user: and a cyclist rides along."}, "A truck is parked."},
      {"lex.traffic_sign", "struct.scene", "A round sign stands there.",
       {"describe/traffic_sign: A round sign stands there."}, "The signal is red."},
      {"lex.traffic_light", "struct.scene", "The traffic light is green.",
       {"describe/traffic_light: The traffic light is green."}, "The light is poor."},
      {"lex.cone_work_zone", "struct.scene", "A work zone begins here.",
       {"describe/cone_work_zone: A work zone begins here."}, "The zone is empty."},
      {"lex.barrier", "struct.scene", "There is a low fence.", {"describe/barrier: There is a low fence."},
       "There is a wall."},
      {"lex.novel_object", "struct.scene", "Garbage lies there.", {"describe/novel_object: Garbage lies there."},
       "A catalogue lies there."},
      {"lex.position_lane", "struct.description", "A red van, standing on the left.",
       {"describe/position_lane: standing on the left."}, "A red van."},
      {"lex.road_weather_visibility", "struct.scene", "It is foggy, the view is short. A van stands there.",
       {"describe/road_weather_visibility: It is foggy, the view is short."}, "A train passes."},
      {"lex.collision_risk", "struct.explanation", "It is near, a crash is possible.",
       {"reason/collision_risk: a crash is possible."}, "It is near."},
      {"lex.intent_prediction", "struct.explanation", "He looks around and may suddenly cross the road.",
       {"reason/intent_prediction: and may suddenly cross the road."}, "He may be tired."},
      {"lex.rule_implication", "struct.explanation", "Entry is prohibited.",
       {"reason/rule_implication: Entry is prohibited."}, "Entry is easy."},
      {"lex.blockage", "struct.explanation", "It is parked so it narrows the road.",
       {"reason/blockage: so it narrows the road."}, "It is parked."},
      {"lex.occlusion", "struct.explanation", "The bus limits the driver's view.",
       {"reason/occlusion: The bus limits the driver's view."}, "The bus limits its speed."},
      {"lex.low_relevance", "struct.explanation", "It does not directly affect us.",
       {"reason/low_relevance: It does not directly affect us."}, "It does affect us."},
      {"lex.longitudinal", "struct.suggestion", "Slow down, then steer past it.",
       {"plan/longitudinal: Slow down,"}, "Steer past it."},
      {"lex.lateral", "struct.suggestion", "Slow down, then change to the left lane.",
       {"plan/lateral: then change to the left lane."}, "Slow down."},
      {"lex.rule_compliance", "struct.suggestion", "Obey the signs.",
       {"plan/rule_compliance: Obey the signs."}, "Read the map."},
      {"lex.monitoring", "struct.suggestion", "Drive on but watch the dog.",
       {"plan/monitoring: but watch the dog."}, "Drive on."},
      {"lex.junction_merge", "struct.suggestion", "At the junction drive straight on.",
       {"plan/junction_merge: At the junction drive straight on."}, "Drive straight on."},
  };
  return cases;
}

std::vector<std::string> labels_of_part(const LexiconCase& c, const std::string& text) {
  std::vector<Label> labels;
  test::annotator().label(text, {0, static_cast<int64_t>(text.size()), c.part, {}}, labels);
  return test::labels_of(text, labels, c.rule);
}

class LexiconRule : public ::testing::TestWithParam<LexiconCase> {};

TEST_P(LexiconRule, LabelsItsClauseAndNothingElse) {
  EXPECT_EQ(labels_of_part(GetParam(), GetParam().text), GetParam().expected);
  EXPECT_THAT(labels_of_part(GetParam(), GetParam().other), IsEmpty());
}

INSTANTIATE_TEST_SUITE_P(Driving, LexiconRule, ::testing::ValuesIn(lexicon_cases()), [](const auto& info) {
  return std::string(info.param.rule).substr(4);
});

// A structure rule: what it labels in one of the samples of test::annotation_json().
struct StructureCase {
  const char* rule;
  const char* sample;
  std::vector<std::string> expected;
};

const std::vector<StructureCase>& structure_cases() {
  static const std::vector<StructureCase> cases = {
      {"struct.header", "val_0001/single",
       {"describe/-: Description:", "reason/-: Reasoning:", "plan/-: Plan:"}},
      {"struct.description", "val_0001/single",
       {"describe/-: A white truck stands ahead in our lane.", "describe/vehicle: A white truck stands ahead in our lane.",
        "describe/-: Three orange cones stand on the right.",
        "describe/cone_work_zone: Three orange cones stand on the right."}},
      {"struct.explanation", "val_0001/single",
       {"reason/-: The truck blocks the lane, so the ego car has to slow down.",
        "reason/-: They close the right lane."}},
      {"struct.suggestion", "val_0001/suggestion", {"plan/-: Slow down and change to the left lane."}},
      {"struct.region", "val_0001/region/2",
       {"describe/-: A white truck ahead.", "describe/region_reference: A white truck ahead.",
        "describe/vehicle: A white truck ahead."}},
      {"struct.region_reason", "val_0001/region/2", {"reason/-: It affects the ego car because it does not move."}},
      {"struct.scene", "val_0001/single", {"describe/-: It rains and the road is wet."}},
      {"match.description", "val_0001/general",
       {"describe/-: A white truck stands ahead in our lane.", "describe/vehicle: A white truck stands ahead in our lane."}},
      {"match.explanation", "val_0001/general",
       {"reason/-: The truck blocks the lane, so the ego car has to slow down."}},
  };
  return cases;
}

class StructureRule : public ::testing::TestWithParam<StructureCase> {};

TEST_P(StructureRule, LabelsItsPart) {
  const auto all = test::samples();
  const Sample& sample = test::sample(all, GetParam().sample);
  EXPECT_EQ(test::labels_of(sample.answer, sample.labels, GetParam().rule), GetParam().expected);
}

INSTANTIATE_TEST_SUITE_P(Driving, StructureRule, ::testing::ValuesIn(structure_cases()), [](const auto& info) {
  std::string name = info.param.rule;
  std::replace(name.begin(), name.end(), '.', '_');
  return name;
});

TEST(Rules, EveryRuleOfTheFileHasACaseHere) {
  std::vector<std::string> tested;
  for (const StructureCase& c : structure_cases()) tested.push_back(c.rule);
  for (const LexiconCase& c : lexicon_cases()) tested.push_back(c.rule);
  EXPECT_THAT(tested, ::testing::UnorderedElementsAreArray(test::annotator().rule_ids()));
}

TEST(Rules, LexiconsRefineOnlyTheStageThatStructureGave) {
  const std::string text = "The truck stands ahead, so slow down.";  // position and plan words
  std::vector<Label> labels;
  test::annotator().label(text, {0, static_cast<int64_t>(text.size()), "struct.explanation"}, labels);
  const int64_t reason = test::taxonomy().stage_index("reason");
  for (const Label& label : labels) EXPECT_EQ(label.stage, reason) << label.rule;
}

TEST(Rules, ClassLexiconsStayOutWhereStructureKnowsTheClass) {
  const std::string text = "A sign beside a truck.";
  std::vector<Label> labels;
  const int64_t sign = test::taxonomy().skill_index("traffic_sign");
  test::annotator().label(text, {0, static_cast<int64_t>(text.size()), "struct.description", {sign}}, labels);
  EXPECT_THAT(test::labels_of(text, labels, "lex.vehicle"), IsEmpty());
  EXPECT_THAT(test::labels_of(text, labels, "lex.position_lane"), Contains(HasSubstr("A sign beside")));
}

TEST(Rules, ARegionOfAnUnknownCategoryGetsItsClassFromLexicons) {
  const LabelledText text = label_answer(test::annotator(), "A cyclist ahead.", "region_perception", "spaceship");
  EXPECT_THAT(test::labels_of(text.text, text.labels, "struct.region"),
              ElementsAre("describe/-: A cyclist ahead.", "describe/region_reference: A cyclist ahead."));
  EXPECT_THAT(test::labels_of(text.text, text.labels, "lex.vulnerable_road_user"), testing::SizeIs(1));
}

TEST(Rules, AnExactMatchIsMoreCertainThanAParaphrase) {
  coda::Annotation a = test::annotation();
  a.summary = "A truck stands ahead in our lane.";
  const auto loose = test::samples(a);
  const auto exact = test::samples();
  const auto confidence = [](const Sample& s) {
    for (const Label& l : s.labels) {
      if (l.rule == "match.description") return l.confidence;
    }
    return 0.0;
  };
  EXPECT_DOUBLE_EQ(confidence(test::sample(exact, "val_0001/general")), 0.9);
  EXPECT_LT(confidence(test::sample(loose, "val_0001/general")), 0.9);
  EXPECT_GT(confidence(test::sample(loose, "val_0001/general")), 0.0);
}

TEST(Rules, ASummarySentenceWithoutAMatchStaysUnlabelled) {
  coda::Annotation a = test::annotation();
  a.summary = "Nobody expected elephants. A white truck stands ahead in our lane.";
  const auto all = test::samples(a);
  for (const Label& label : test::sample(all, "val_0001/general").labels) EXPECT_GE(label.begin, 27);
}

TEST(LabelAnswer, TakesStagesFromHeaders) {
  const LabelledText text = label_answer(test::annotator(), "Description:\nA van on the left.\nPlan:\nSlow down.");
  EXPECT_THAT(test::labels_of(text.text, text.labels, "struct.header"),
              ElementsAre("describe/-: Description:\nA van on the left.\n", "plan/-: Plan:\nSlow down."));
  EXPECT_THAT(test::labels_of(text.text, text.labels, "lex.vehicle"), ElementsAre("describe/vehicle: A van on the left."));
  EXPECT_THAT(test::labels_of(text.text, text.labels, "lex.longitudinal"), ElementsAre("plan/longitudinal: Slow down."));
}

TEST(LabelAnswer, IsLessCertainWithoutStructure) {
  const LabelledText text = label_answer(test::annotator(), "Slow down.");
  ASSERT_EQ(text.labels.size(), 1u);
  EXPECT_EQ(text.labels[0].rule, "lex.longitudinal");
  EXPECT_DOUBLE_EQ(text.labels[0].confidence, 0.4);
  EXPECT_THROW(label_answer(test::annotator(), "x", "poetry"), UsageError);
}

// What the annotator says about a file with one thing wrong.
std::string error_of(const std::function<void(Json&)>& spoil) {
  Json json = load_json(resource("skills/driving.json"));
  spoil(json);
  return message_of<DataError>([&] { Annotator(Taxonomy::from_json(json, "mine.json"), "mine.json"); });
}

TEST(Rules, ErrorsNameFileAndKey) {
  using ::testing::AllOf;
  EXPECT_THAT(error_of([](Json& j) { j.erase("lexicon_rules"); }), AllOf(HasSubstr("mine.json"), HasSubstr("lexicon_rules")));
  EXPECT_THAT(error_of([](Json& j) { j["lexicon_rules"][3]["skill"] = "trafic_light"; }),
              AllOf(HasSubstr("lexicon_rules[3]"), HasSubstr("nearest is \"traffic_light\"")));
  EXPECT_THAT(error_of([](Json& j) { j["lexicon_rules"][1]["id"] = "lex.vehicle"; }), HasSubstr("comes twice"));
  EXPECT_THAT(error_of([](Json& j) { j["lexicon_rules"][0]["confidence"] = 1.5; }), HasSubstr("(0, 1]"));
  EXPECT_THAT(error_of([](Json& j) { j["lexicon_rules"][0]["unit"] = "word"; }), HasSubstr("\"unit\""));
  EXPECT_THAT(error_of([](Json& j) { j["lexicon_rules"][0]["phrases"][0] = "~ car"; }), HasSubstr("both ends"));
  EXPECT_THAT(error_of([](Json& j) { j["structure_rules"][1]["id"] = "struct.other"; }), HasSubstr("unknown rule"));
  EXPECT_THAT(error_of([](Json& j) { j["structure_rules"].erase(1); }), AllOf(HasSubstr("struct.description"), HasSubstr("missing")));
  EXPECT_THAT(error_of([](Json& j) { j["ignored_phrases"][0] = "ego ~ car"; }), HasSubstr("no ~ is allowed"));
  EXPECT_THAT(error_of([](Json& j) { j["categories"]["barriers"] = 3; }), HasSubstr("categories.barriers"));
}

}  // namespace
}  // namespace mose::skills
