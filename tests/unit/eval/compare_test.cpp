#include "mose/eval/compare.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/eval/agreement.h"
#include "support/helpers.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

Json row(const char* task, const char* id, Json score, const char* judge = "j", int repeat = 0) {
  const bool region = std::string(task) == "region_perception";
  return {{"task", task},
          {"id", id},
          {"region", region ? "1" : ""},
          {"region_class", region ? "cone" : ""},
          {"question_id", 7},
          {"image", str("test/images/", id, ".jpg")},
          {"reference", region ? "A traffic cone." : "Slow down."},
          {"prediction", "Stop."},
          {"judge", judge},
          {"repeat", repeat},
          {"score", std::move(score)},
          {"reason", ""},
          {"reply", ""}};
}

class Compare : public testing::Test {
 protected:
  std::filesystem::path write(const char* name, const std::vector<Json>& rows) {
    std::string text;
    for (const Json& r : rows) text += r.dump() + "\n";
    const auto dir = folder.path / name;
    make_directories(dir);
    write_file(dir / "items.jsonl", text);
    return dir;
  }
  Comparison compared(const std::vector<Json>& a, const std::vector<Json>& b, bool common = false) {
    CompareOptions options;
    options.a = write("a", a);
    options.b = write("b", b);
    options.common = common;
    return compare(options);
  }
  static const ComparedPart& part(const Comparison& c, const std::string& kind,
                                  const std::string& name) {
    for (const auto& p : c.parts) {
      if (p.kind == kind && p.name == name) return p;
    }
    throw Error("no part " + kind + " " + name);
  }
  TemporaryFolder folder;
};

constexpr const char* kGeneral = "general_perception";
constexpr const char* kRegion = "region_perception";
constexpr const char* kPlan = "driving_suggestion";

TEST_F(Compare, DifferencesCountsAndFinalOverTasks) {
  const Comparison c = compared({row(kPlan, "test_0001", 80), row(kPlan, "test_0002", 60),
                                 row(kPlan, "test_0003", 50), row(kRegion, "test_0001", 20)},
                                {row(kPlan, "test_0001", 50), row(kPlan, "test_0002", 70),
                                 row(kPlan, "test_0003", 50), row(kRegion, "test_0001", 10)});
  const ComparedPart& plan = part(c, "task", kPlan);
  EXPECT_EQ(plan.items, 3);
  EXPECT_NEAR(plan.a, 190 / 3.0, 1e-9);
  EXPECT_NEAR(plan.b, 170 / 3.0, 1e-9);
  EXPECT_NEAR(plan.difference, 20 / 3.0, 1e-9);
  EXPECT_EQ(plan.counts.wins, 1);
  EXPECT_EQ(plan.counts.ties, 1);
  EXPECT_EQ(plan.counts.losses, 1);
  EXPECT_EQ(plan.p_sign, 1);
  // Resampled means lie between the smallest and the largest difference.
  EXPECT_GE(plan.interval.low, -10);
  EXPECT_LE(plan.interval.high, 30);
  EXPECT_LT(plan.interval.low, plan.interval.high);
  EXPECT_NEAR(part(c, "final", "mean of the tasks").difference, (20 / 3.0 + 10) / 2, 1e-9);
  EXPECT_EQ(part(c, "region class", "cone").items, 1);
  // By the rule annotator: "slow down" is longitudinal, a cone is cone_work_zone.
  EXPECT_EQ(part(c, "skill", "longitudinal").items, 3);
  EXPECT_EQ(part(c, "skill", "cone_work_zone").items, 1);
  EXPECT_EQ(c.judge, "j");
}

TEST_F(Compare, RepeatsAreAveragedMissingIsTheLowestUnjudgedIsLeftOut) {
  Json missing = row(kPlan, "test_0002", 10), unjudged = row(kPlan, "test_0003", nullptr);
  missing["prediction"] = nullptr;
  missing["reason"] = "missing";
  unjudged["reason"] = "no rating in the reply";
  const Comparison c =
      compared({row(kPlan, "test_0001", 40), row(kPlan, "test_0001", 60, "j", 1), missing,
                row(kPlan, "test_0003", 90)},
               {row(kPlan, "test_0001", 50), row(kPlan, "test_0002", 30), unjudged});
  const ComparedPart& plan = part(c, "task", kPlan);
  EXPECT_EQ(plan.items, 2);
  EXPECT_DOUBLE_EQ(plan.a, 30);
  EXPECT_DOUBLE_EQ(plan.b, 40);
  EXPECT_EQ(c.unjudged, 1);
  EXPECT_EQ(c.missing_a, 1);
  EXPECT_EQ(c.missing_b, 0);
}

TEST_F(Compare, SetsThatDoNotMatchAreRefusedWithCounts) {
  const std::vector<Json> a = {row(kPlan, "test_0001", 40), row(kPlan, "test_0002", 40)},
                          b = {row(kPlan, "test_0002", 10), row(kGeneral, "test_0003", 5)};
  const std::string message = message_of<DataError>([&] { compared(a, b); });
  EXPECT_THAT(message, HasSubstr("1 only in"));
  EXPECT_THAT(message, HasSubstr("driving_suggestion test_0001"));
  EXPECT_THAT(message, HasSubstr("general_perception test_0003"));
  const Comparison c = compared(a, b, true);
  EXPECT_EQ(c.only_a, 1);
  EXPECT_EQ(c.only_b, 1);
  EXPECT_EQ(part(c, "task", kPlan).difference, 30);
}

TEST_F(Compare, OtherReferencesOtherJudgesAndNothingInCommonAreRefused) {
  Json other = row(kPlan, "test_0001", 40);
  other["reference"] = "Turn left.";
  EXPECT_THAT(message_of<DataError>([&] { compared({row(kPlan, "test_0001", 40)}, {other}); }),
              HasSubstr("different reference answers"));
  EXPECT_THAT(message_of<DataError>([&] {
                compared({row(kPlan, "test_0001", 4)}, {row(kPlan, "test_0001", 4, "k")});
              }),
              HasSubstr("was judged by k"));
  EXPECT_THAT(message_of<DataError>([&] {
                compared({row(kPlan, "test_0001", 4)}, {row(kPlan, "test_0002", 4)}, true);
              }),
              HasSubstr("share no item"));
  EXPECT_THAT(message_of<DataError>([&] {
                compared({row(kPlan, "test_0001", 4), row(kPlan, "test_0001", 4)}, {other});
              }),
              HasSubstr("repeat 0 comes twice"));
}

TEST_F(Compare, JudgesUnderDifferentProtocolsAreRefused) {
  const std::vector<Json> rows = {row(kPlan, "test_0001", 40)};
  const auto with_protocol = [&](const char* folder_name, const char* hash) {
    make_directories(folder.path / folder_name);
    save_json(folder.path / folder_name / "scores.json",
              {{"judges", {{"j", {{"protocol", {{"sha256", hash}}}}}}}});
  };
  with_protocol("a", "1234");
  with_protocol("b", "1234");
  EXPECT_EQ(part(compared(rows, rows), "task", kPlan).items, 1);
  with_protocol("b", "5678");
  EXPECT_THAT(message_of<DataError>([&] { compared(rows, rows); }),
              HasSubstr("different protocols"));
}

TEST_F(Compare, BadRowsNameFileLineAndField) {
  for (const auto& [key, value, message] :
       {std::tuple<const char*, Json, const char*>{"score", 101, "score: expected 0 to 100"},
        {"score", "9", "\"score\""},
        {"task", "planning", "task: expected general_perception"},
        {"prediction", 3, "\"prediction\""}}) {
    Json bad = row(kPlan, "test_0001", 40);
    bad[key] = value;
    const auto dir = write("a", {row(kPlan, "test_0002", 40), bad});
    const std::string text = message_of<DataError>([&] { load_items(dir); });
    EXPECT_THAT(text, HasSubstr("items.jsonl:2"));
    EXPECT_THAT(text, HasSubstr(message));
  }
  EXPECT_THAT(message_of<DataError>([&] { load_items(write("a", {})); }), HasSubstr("no items"));
}

TEST_F(Compare, AgreementByPairsTasksAndRepeats) {
  std::vector<Json> rows;
  const double x[] = {10, 20, 30, 40}, y[] = {20, 20, 30, 50};
  const char* ids[] = {"test_0001", "test_0002", "test_0003", "test_0004"};
  for (int i = 0; i < 4; ++i) {
    const char* task = i < 3 ? kPlan : kGeneral;
    rows.push_back(row(task, ids[i], x[i] - 1, "x", 0));
    rows.push_back(row(task, ids[i], x[i] + 1, "x", 1));
    rows.push_back(row(task, ids[i], y[i], "y"));
  }
  Json missing = row(kGeneral, "test_0009", nullptr, "x");
  missing["prediction"] = nullptr;
  rows.push_back(missing);
  const Agreement a = agreement({write("a", rows)}, 2);
  ASSERT_EQ(a.raters.size(), 2u);
  EXPECT_EQ(a.raters[0].items, 4);
  EXPECT_EQ(a.raters[0].unjudged, 0);
  EXPECT_DOUBLE_EQ(a.raters[0].mean, 25);
  EXPECT_EQ(a.raters[0].noise.changed, 4);
  EXPECT_DOUBLE_EQ(a.raters[0].noise.deviation, std::sqrt(2.0));
  EXPECT_EQ(a.raters[1].noise.items, 0);
  ASSERT_EQ(a.pairs.size(), 3u);  // all, general perception, suggestion
  EXPECT_EQ(a.pairs[0].items, 4);
  EXPECT_DOUBLE_EQ(a.pairs[0].kappa, weighted_kappa({10, 20, 30, 40}, {20, 20, 30, 50}));
  EXPECT_DOUBLE_EQ(a.pairs[0].difference, -5);
  EXPECT_EQ(a.pairs[2].items, 3);
  EXPECT_TRUE(std::isnan(a.pairs[1].pearson));
  ASSERT_EQ(a.disputed.size(), 2u);
  EXPECT_EQ(a.disputed[0].key.id, "test_0001");
  EXPECT_EQ(a.disputed[1].key.id, "test_0004");
  EXPECT_DOUBLE_EQ(a.disputed[0].deviation, 10 / std::sqrt(2.0));
  EXPECT_DOUBLE_EQ(a.mean_deviation, 20 / std::sqrt(2.0) / 4);
  const std::string table = format_tables(agreement_tables(a), "markdown");
  EXPECT_THAT(table, HasSubstr("| x | y | general_perception | 1 |"));
}

TEST_F(Compare, AgreementNeedsTheSameAnswersAndSomethingToCompare) {
  Json other = row(kPlan, "test_0001", 40);
  other["prediction"] = "Go.";
  const auto a = write("a", {row(kPlan, "test_0001", 4)}), b = write("b", {other});
  EXPECT_THAT(message_of<DataError>([&] { agreement({a, b}); }), HasSubstr("different answers"));
  EXPECT_THAT(message_of<DataError>([&] { agreement({a}); }), HasSubstr("nothing to compare"));
}

TEST(Tables, MarkdownCsvAndJson) {
  const Table one{"t",
                  "",
                  {"name", "n", "mean", "p sign"},
                  {{"a|b", 3, 1.005, 0.0421}, {"x,\"y", nullptr, 2, 1}},
                  1};
  EXPECT_EQ(format_tables({one}, "markdown"),
            "| name | n | mean | p sign |\n|---|---:|---:|---:|\n| a\\|b | 3 | 1.00 | 0.042 |\n"
            "| x,\"y | - | 2 | 1 |\n");
  EXPECT_EQ(format_tables({one}, "csv"),
            "name,n,mean,p sign\r\na|b,3,1.005,0.0421\r\n\"x,\"\"y\",,2,1\r\n");
  EXPECT_EQ(format_tables({{"u", "", {"a", "b", "c"}, {{"r", "s", 1}}, 2}, one}, "csv"),
            "table,row,column,value\r\nu,r / s,c,1\r\nt,a|b,n,3\r\nt,a|b,mean,1.005\r\n"
            "t,a|b,p sign,0.0421\r\nt,\"x,\"\"y\",n,\r\nt,\"x,\"\"y\",mean,2\r\n"
            "t,\"x,\"\"y\",p sign,1\r\n");
  EXPECT_THAT(format_tables({{"v", "", {"a", "p sign"}, {{"x", 1e-9}}, 1}}, "markdown"),
              HasSubstr("| x | <0.001 |"));
  EXPECT_EQ(tables_json({one})["t"][1]["mean"], 2);
  EXPECT_THROW(format_tables({one}, "html"), UsageError);
}

}  // namespace
}  // namespace mose::eval
