#include "mose/skills/taxonomy.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "helpers.h"
#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::skills {
namespace {

using ::testing::AllOf;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(Taxonomy, TheDefaultHasThreeStagesAndTheirSkills) {
  const Taxonomy& t = test::taxonomy();
  ASSERT_EQ(t.stages().size(), 3u);
  EXPECT_EQ(t.stages()[0].name, "describe");
  EXPECT_EQ(t.stages()[1].header, "Reasoning:");
  EXPECT_EQ(t.skills().size(), 21u);
  EXPECT_EQ(t.skills()[static_cast<size_t>(t.skill_index("occlusion"))].stage, t.stage_index("reason"));
  EXPECT_EQ(t.skill_index("flying"), -1);
  EXPECT_EQ(t.stage_index("dream"), -1);
}

TEST(Taxonomy, ReadsBackAsWritten) {
  const Taxonomy again = Taxonomy::from_json(test::taxonomy().to_json(), "again");
  EXPECT_EQ(again.to_json(), test::taxonomy().to_json());
  EXPECT_EQ(again.skills().size(), test::taxonomy().skills().size());
}

std::string error_of(const char* text) {
  return message_of<DataError>([&] { Taxonomy::from_json(Json::parse(text), "t.json"); });
}

TEST(Taxonomy, ErrorsNameFileAndKey) {
  EXPECT_THAT(error_of(R"({"skills": []})"), AllOf(HasSubstr("t.json"), HasSubstr("\"stages\"")));
  EXPECT_THAT(error_of(R"({"stages": [], "skills": []})"), HasSubstr("empty"));
  EXPECT_THAT(error_of(R"({"stages": [{"name": "a", "header": "A:"}, {"name": "a", "header": "B:"}], "skills": []})"),
              AllOf(HasSubstr("stages[1]"), HasSubstr("\"name\"")));
  EXPECT_THAT(error_of(R"({"stages": [{"name": "a", "header": "A:"}, {"name": "b", "header": "A:"}], "skills": []})"),
              AllOf(HasSubstr("stages[1]"), HasSubstr("\"header\"")));
  EXPECT_THAT(error_of(R"({"stages": [{"name": "a", "header": "A:"}], "skills": [{"name": "x", "stage": "b"}]})"),
              AllOf(HasSubstr("skills[0]"), HasSubstr("no stage is named \"b\"")));
  EXPECT_THAT(error_of(R"({"stages": [{"name": "a", "header": "A:"}], "skills": []})"),
              AllOf(HasSubstr("stage \"a\""), HasSubstr("no skill")));
}

TEST(SplitAnswer, GivesBackThePartsOfAComposedAnswer) {
  const auto all = test::samples();
  EXPECT_THAT(split_answer(test::sample(all, "val_0001/single").answer, test::taxonomy()),
              ElementsAre("It rains and the road is wet. A white truck stands ahead in our lane. "
                          "Three orange cones stand on the right.",
                          "The truck blocks the lane, so the ego car has to slow down. They close the right lane.",
                          "Slow down and change to the left lane."));
}

TEST(SplitAnswer, LeavesMissingStagesEmpty) {
  EXPECT_THAT(split_answer("Plan:\nStop.\n", test::taxonomy()), ElementsAre("", "", "Stop."));
  EXPECT_THAT(split_answer("", test::taxonomy()), ElementsAre("", "", ""));
}

TEST(SplitAnswer, CountsTextBeforeTheFirstHeaderToTheFirstStage) {
  EXPECT_THAT(split_answer("A van.\nReasoning:\nNear.", test::taxonomy()), ElementsAre("A van.", "Near.", ""));
  EXPECT_THAT(split_answer("A van.", test::taxonomy()), ElementsAre("A van.", "", ""));
}

TEST(SplitAnswer, TakesHeadersOnlyWhereALineBegins) {
  EXPECT_THAT(split_answer("Description: A Plan: of sorts.\n Plan: Stop.", test::taxonomy()),
              ElementsAre("A Plan: of sorts.", "", "Stop."));
}

TEST(SplitAnswer, JoinsAStageThatComesTwice) {
  EXPECT_THAT(split_answer("Plan:\nStop.\nReasoning:\nNear.\nPlan:\nWait.", test::taxonomy()),
              ElementsAre("", "Near.", "Stop.\nWait."));
}

TEST(Resource, NamesThePlacesWhereItLooked) {
  try {
    resource("skills/none.json");
    FAIL() << "expected a DataError";
  } catch (const DataError& e) {
    EXPECT_THAT(e.what(), AllOf(HasSubstr("skills/none.json"), HasSubstr("share/mose/configs"), HasSubstr("MOSE_CONFIGS")));
  }
}

}  // namespace
}  // namespace mose::skills
