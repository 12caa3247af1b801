#include "mose/eval/score.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "mose/core/error.h"
#include "mose/eval/judge.h"
#include "tiny_set.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

class Score : public testing::Test {
 protected:
  Json run(std::vector<std::string> judges = {"facts"}, bool blind = false) {
    ScoreOptions options;
    options.root = set.root;
    options.split = "test";
    options.answers = set.answers;
    if (blind) options.blind_answers = set.blind;
    options.judges = std::move(judges);
    options.lexicon = set.lexicon;
    return score(options);
  }
  void write(const char* task, const std::vector<coda::VqaRow>& rows) {
    coda::write_rows(coda::answer_file(set.answers, task), rows);
  }
  std::string error(std::vector<std::string> judges = {"facts"}) {
    try {
      run(std::move(judges));
    } catch (const DataError& e) {
      return e.what();
    }
    return "no DataError";
  }

  TinySet set;
};

TEST_F(Score, ReferencesAsAnswersAreAllRight) {
  const Json s = run({"facts", "text"});
  for (const char* judge : {"facts", "text"}) {
    for (const char* task : coda::kTasks) {
      const Json& t = s["judges"][judge]["tasks"][task];
      EXPECT_NEAR(t["official"], 100, 1e-9) << judge << " " << task;
      EXPECT_NEAR(t["strict"], 100, 1e-9) << judge << " " << task;
      EXPECT_EQ(t["count"], 3);
      EXPECT_EQ(t["missing"], 0);
      EXPECT_EQ(t["unjudged"], 0);
    }
  }
  EXPECT_NEAR(s["final"], 100, 1e-9);
  for (const char* stage : {"describe", "reason", "plan"}) EXPECT_EQ(s["facts"][stage]["f1"], 1);
  EXPECT_NEAR(s["text"]["bleu"], 100, 1e-9);
  EXPECT_NEAR(s["text"]["general_perception"]["rouge_l"], 100, 1e-9);
  EXPECT_EQ(s["judge"], "facts");
  EXPECT_EQ(s["comparable"], false);
  EXPECT_THAT(s["comparability"].get<std::string>(), HasSubstr("Not comparable"));
}

TEST_F(Score, HowTheAnswersWereMadeGoesWithTheirScores) {
  EXPECT_FALSE(run().contains("predict"));
  save_json(set.answers / "predict.json", {{"oracle_category", true}});
  EXPECT_EQ(run()["predict"]["oracle_category"], true);
}

TEST_F(Score, AnswersAreMatchedByImageNotByLine) {
  for (const char* task : coda::kTasks) {
    auto rows = coda::read_rows(coda::answer_file(set.answers, task));
    std::reverse(rows.begin(), rows.end());
    write(task, rows);
  }
  EXPECT_NEAR(run()["final"], 100, 1e-9);
}

TEST_F(Score, MissingAnswersCountAsNothingInStrictAndAreLeftOutOfOfficial) {
  write("driving_suggestion", {{0, set.image(0), "", "Slow down and keep left."}});
  const Json s = run(), t = s["tasks"]["driving_suggestion"];
  EXPECT_NEAR(t["official"], 100, 1e-9);
  EXPECT_NEAR(t["strict"], 100.0 / 3, 1e-9);
  EXPECT_EQ(t["missing"], 2);
  EXPECT_EQ(t["judged"], 1);
  EXPECT_EQ(t["lists"]["missing"], (Json{"test_0002", "test_0003"}));
  // Facts: 2 of 5 actions stated, all of them right.
  EXPECT_NEAR(s["facts"]["plan"]["precision"], 1, 1e-12);
  EXPECT_NEAR(s["facts"]["plan"]["recall"], 2.0 / 5, 1e-12);
  EXPECT_NEAR(s["facts"]["plan"]["f1"], 4.0 / 7, 1e-12);
  EXPECT_EQ(s["facts"]["plan"]["count"], 3);
}

TEST_F(Score, AMissingTaskHasNoOfficialScoreAndNoFinal) {
  fs::remove(coda::answer_file(set.answers, "region_perception"));
  const Json s = run(), t = s["tasks"]["region_perception"];
  EXPECT_TRUE(t["official"].is_null());
  EXPECT_EQ(t["strict"], 0);
  EXPECT_EQ(t["missing"], 3);
  EXPECT_TRUE(s["final"].is_null());
  EXPECT_NEAR(s["final_strict"], 200.0 / 3, 1e-9);
}

TEST_F(Score, DuplicateEmptyAndUnknownAnswersAreCountedAndListed) {
  write("driving_suggestion", {{0, set.image(0), "", "Come to a stop."},
                               {0, set.image(0), "", "Slow down and keep left."},
                               {1, set.image(1), "", "  "},
                               {2, set.image(2), "", "Slow down and come to a stop."},
                               {9, "test/images/0009.jpg", "", "Slow down."}});
  const Json t = run()["tasks"]["driving_suggestion"];
  EXPECT_EQ(t["duplicate"], 1);
  EXPECT_EQ(t["empty"], 1);
  EXPECT_EQ(t["unknown"], 1);
  EXPECT_EQ(t["missing"], 0);
  EXPECT_EQ(t["lists"]["empty"], Json{"test_0002"});
  EXPECT_THAT(t["lists"]["unknown"][0].get<std::string>(), HasSubstr("0009.jpg"));
  // The first of the two counts (0), the empty one is wrong (0), the last is right.
  EXPECT_NEAR(t["official"], 100.0 / 3, 1e-9);
}

TEST_F(Score, TaskScoreIsTheMeanOfItemF1) {
  write("driving_suggestion", {{0, set.image(0), "", "Slow down."},  // 1 of 1 and 2: F1 2/3
                               {1, set.image(1), "", "Slow down and come to a stop."},  // 2/3
                               {2, set.image(2), "", "Keep left."}});                   // 0
  const Json s = run();
  EXPECT_NEAR(s["tasks"]["driving_suggestion"]["official"], 100 * (2.0 / 3 + 2.0 / 3) / 3, 1e-9);
  // Micro: 2 right of 4 stated and 5 true.
  EXPECT_NEAR(s["facts"]["plan"]["f1"], 4.0 / 9, 1e-12);
  EXPECT_NEAR(s["facts"]["plan"]["per_class"]["slow_down"]["recall"], 2.0 / 3, 1e-12);
}

TEST_F(Score, RegionsAreScoredByClassAndAgainstTheirOwnFacts) {
  auto rows = coda::read_rows(coda::answer_file(set.answers, "region_perception"));
  rows[1].answer = "A dog on the left.";
  write("region_perception", rows);
  const Json s = run();
  EXPECT_NEAR(s["regions"]["vehicle"]["official"], 0, 1e-9);
  EXPECT_NEAR(s["regions"]["cone"]["official"], 100, 1e-9);
  EXPECT_EQ(s["regions"]["cone"]["count"], 1);
  EXPECT_NEAR(s["tasks"]["region_perception"]["official"], 200.0 / 3, 1e-9);
  EXPECT_NEAR(s["region_facts"]["describe"]["f1"], 4.0 / 6, 1e-12);
}

TEST_F(Score, ARegionOfAnUnknownCategoryIsNotJudged) {
  const fs::path file = set.root / "CODA-LM" / "Test" / "vqa_anno" / "region_perception.jsonl";
  make_directories(file.parent_path());
  coda::write_rows(file, {{4, set.boxed(0), "q", set.region[0], "traffic_cone"},
                          {5, set.boxed(1), "q", set.region[1], "zeppelin"}});
  write("region_perception",
        {{4, set.boxed(0), "", set.region[0]}, {5, set.boxed(1), "", set.region[1]}});
  const Json t = run()["tasks"]["region_perception"];
  EXPECT_EQ(t["count"], 2);
  EXPECT_EQ(t["unjudged"], 1);
  EXPECT_NEAR(t["official"], 100, 1e-9);
}

TEST_F(Score, QuestionsOfTheSetAreMatchedByIdAndImage) {
  const fs::path file = set.root / "CODA-LM" / "Test" / "vqa_anno" / "driving_suggestion.jsonl";
  make_directories(file.parent_path());
  coda::write_rows(file, {{7, set.image(0), "q", set.suggestion[0]}});
  write("driving_suggestion",
        {{8, set.image(0), "", set.suggestion[0]}, {7, set.image(0), "", set.suggestion[0]}});
  const Json t = run()["tasks"]["driving_suggestion"];
  EXPECT_EQ(t["unknown"], 1);
  EXPECT_EQ(t["missing"], 0);
  EXPECT_NEAR(t["official"], 100, 1e-9);
}

TEST_F(Score, BlindAnswersAreScoredAlike) {
  set.write_answers(set.blind);
  coda::write_rows(coda::answer_file(set.blind, "driving_suggestion"),
                   {{0, set.image(0), "", "Keep left."}});
  const Json s = run({"facts", "text"}, true);
  EXPECT_EQ(s["facts"]["plan"]["f1"], 1);
  EXPECT_NEAR(s["blind_facts"]["plan"]["f1"], 2.0 / 6, 1e-12);
  EXPECT_LT(s["blind_text"]["rouge_l"].get<double>(), 100);
}

TEST_F(Score, AWithheldReferenceIsNotJudgedByText) {
  const fs::path file = set.root / "CODA-LM" / "Test" / "vqa_anno" / "driving_suggestion.jsonl";
  make_directories(file.parent_path());
  coda::write_rows(file, {{0, set.image(0), "q", ""}, {1, set.image(1), "q", set.suggestion[1]}});
  const Json s = run({"text"});
  EXPECT_EQ(s["tasks"]["driving_suggestion"]["unjudged"], 1);
  EXPECT_EQ(s["text"]["driving_suggestion"]["count"], 1);
  EXPECT_FALSE(s.contains("facts"));
}

TEST_F(Score, BadInputNamesFileAndLine) {
  const fs::path file = coda::answer_file(set.answers, "general_perception");
  write_file(file, read_file(file) + "{\"question_id\": 3, \"image\": \"te");
  EXPECT_THAT(error(), HasSubstr("general_perception_answer.jsonl:4"));
}

TEST_F(Score, WithoutFactsTheFactsJudgeRefuses) {
  fs::remove_all(set.root / "facts");
  EXPECT_THAT(error(), HasSubstr("mose-data scenes"));
  EXPECT_EQ(error({"text"}), "no DataError");
}

TEST_F(Score, EveryItemHasARowForEachJudge) {
  write("driving_suggestion", {{0, set.image(0), "", "Slow down and keep left."},
                               {2, set.image(2), "", ""}});
  ScoreOptions options;
  options.root = set.root;
  options.split = "Test";
  options.answers = set.answers;
  options.judges = {"text", "facts"};
  options.lexicon = set.lexicon;
  std::vector<Json> rows;
  score(options, [&rows](const Json& row) { rows.push_back(row); });
  ASSERT_EQ(rows.size(), 2u * 9u);
  EXPECT_EQ(rows[4], Json::parse(R"({"task": "region_perception", "id": "test_0002", "region": "1",
    "region_class": "vehicle", "question_id": -1, "image": "test/images_w_boxes/0002_object_1.jpg",
    "reference": "A bus on the right.", "prediction": "A bus on the right.", "judge": "text",
    "repeat": 0, "score": 100.0, "reason": "", "reply": ""})"));
  const Json missing = rows[7], empty = rows[8];
  EXPECT_EQ(missing["id"], "test_0002");
  EXPECT_TRUE(missing["prediction"].is_null());
  EXPECT_EQ(missing["score"], 0);
  EXPECT_EQ(missing["reason"], "missing");
  EXPECT_EQ(empty["prediction"], "");
  EXPECT_EQ(empty["score"], 0);
  EXPECT_EQ(rows[9]["judge"], "facts");
}

TEST_F(Score, AFolderWithoutAnswersIsRefused) {
  fs::remove_all(set.answers);
  EXPECT_THAT(error(), HasSubstr("expected at least one of general_perception_answer.jsonl"));
}

TEST_F(Score, AnImagePathOfAnotherFormIsRefused) {
  EXPECT_EQ(parse_image_name("val/images/0012.jpg", "x").id, "val_0012");
  EXPECT_EQ(parse_image_name("./test/images_w_boxes/0003_object_12.jpg", "x").region, "12");
  for (const char* bad : {"0001.jpg", "images/0001.jpg", "val/images/a.jpg",
                          "val/images_w_boxes/0001.jpg", "val/images_w_boxes/0001_object_.jpg"}) {
    EXPECT_THROW(parse_image_name(bad, "x"), DataError) << bad;
  }
}

TEST(ParseJudges, AcceptsAListWithoutRepeats) {
  EXPECT_THAT(parse_judges("facts, text"), testing::ElementsAre("facts", "text"));
  for (const char* bad : {"", "facts,", "gpt", "text,text"}) {
    EXPECT_THROW(parse_judges(bad), UsageError) << bad;
  }
}

TEST_F(Score, TheTableShowsEveryTaskAndTheWarning) {
  set.write_answers(set.blind);
  const std::string table = score_table(run({"facts", "text"}, true));
  for (const char* text :
       {"general_perception", "| final | 100.00", "| plan | 100.00", "ROUGE-L", "Not comparable"}) {
    EXPECT_THAT(table, HasSubstr(text));
  }
}

}  // namespace
}  // namespace mose::eval
