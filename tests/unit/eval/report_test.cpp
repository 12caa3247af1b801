#include "mose/eval/report.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <set>

#include "eval/report_parts.h"
#include "mose/core/error.h"
#include "mose/core/resources.h"
#include "mose/eval/score.h"
#include "tiny_set.h"

namespace mose::eval {
namespace {

using testing::HasSubstr;

bool shows(const std::string& html, const std::string& text) {
  return html.find(text) != std::string::npos;
}

// Every element is closed in order; void elements are the only ones without an end.
std::string unbalanced(std::string html) {
  const size_t script = html.find("<script>") + 8;
  html.erase(script, html.find("</script>") - script);
  const std::set<std::string> empty = {"!DOCTYPE", "meta", "img", "br", "input"};
  std::vector<std::string> open;
  for (size_t at = html.find('<'); at != std::string::npos; at = html.find('<', at + 1)) {
    const size_t end = html.find('>', at);
    if (end == std::string::npos) return "a tag without end";
    const bool closing = html[at + 1] == '/';
    const size_t begin = at + (closing ? 2 : 1);
    const std::string name = html.substr(begin, html.find_first_of(" >/\n", begin) - begin);
    if (closing) {
      if (open.empty() || open.back() != name) return "unexpected </" + name + ">";
      open.pop_back();
    } else if (!empty.count(name) && html[end - 1] != '/') {
      open.push_back(name);
    }
  }
  return open.empty() ? "" : "<" + open.back() + "> is not closed";
}

class Report : public testing::Test {
 protected:
  Report() {
    set.write_answers(set.blind);
    coda::write_rows(coda::answer_file(set.blind, "driving_suggestion"),
                     {{0, set.image(0), "", "Keep left."}});
    auto rows = coda::read_rows(coda::answer_file(set.answers, "driving_suggestion"));
    rows[0].answer = "Slow <down> & come to a stop. Slow down.";
    coda::write_rows(coda::answer_file(set.answers, "driving_suggestion"), rows);
    ScoreOptions options;
    options.root = set.root;
    options.split = "Test";
    options.answers = set.answers;
    options.blind_answers = set.blind;
    options.judges = {"facts", "text"};
    options.lexicon = set.lexicon;
    std::string items;
    save_json(set.dir / "scores.json",
              score(options, [&](const Json& row) { items += row.dump() + "\n"; }));
    write_file(set.dir / "items.jsonl", items);

    metrics = set.dir / "run" / "metrics.jsonl";
    make_directories(metrics.parent_path());
    std::string lines;
    for (int step = 1; step <= 20; ++step) {
      lines += Json{{"step", step},
                    {"stage", step <= 5 ? "router" : "finetune"},
                    {"loss", 2.0 / step},
                    {"loss_describe", 3.0 / step},
                    {"loss_plan", 1.0 / step}}
                   .dump() +
               "\n";
    }
    lines +=
        Json{{"step", 20}, {"stage", "finetune"}, {"validation", true}, {"loss", 0.75}}.dump() +
        "\n";
    write_file(metrics, lines);
    routing = Json::parse(R"({"skills": ["vehicle", "blockage"], "stages": ["describe", "reason"],
      "skill_stage": [0, 1], "assignment": [[1, 0], [0, 1]], "before": null, "after": {
        "layers": [{"layer": 2, "experts": 2, "tokens": 100, "expert_load": [0.75, 0.25],
                    "skill_expert": [[0.875, 0.125], [0, 0]], "skill_tokens": [60, 0],
                    "stage_accuracy": 0.9, "skill_accuracy": null, "assigned_share": 0.875,
                    "entropy": 0.4}],
        "stage_accuracy": 0.9, "skill_accuracy": null, "assigned_share": 0.875}})");
    spec = {{"title", "Cones & dogs"},
            {"coda", "coda"},
            {"split", "Test"},
            {"lexicon", "lexicon.json"},
            {"samples", 2},
            {"arms",
             {{{"name", "skill"},
               {"label", "Skill <routed>"},
               {"scores", "scores.json"},
               {"runs", {"run"}},
               {"answers", "answers"},
               {"blind_answers", "blind"},
               {"routing", "routing.json"},
               {"activated_parameters", 1500000},
               {"total_parameters", 3000000},
               {"train_seconds", 75}},
              {{"name", "dense"}, {"scores", "scores.json"}}}}};
  }

  std::string render() {
    save_json(set.dir / "routing.json", routing);
    save_json(set.dir / "spec.json", spec);
    return render_report(load_report_spec(set.dir / "spec.json"));
  }
  template <class E>
  std::string error() {
    try {
      render();
    } catch (const E& e) {
      return e.what();
    }
    return "no error";
  }

  TinySet set;
  fs::path metrics;
  Json routing, spec;
};

TEST_F(Report, IsOneWellFormedFileWithoutOutsideReferences) {
  const std::string html = render();
  EXPECT_EQ(unbalanced(html), "");
  for (const char* outside :
       {"http:", "https:", "<script ", "<link", "@import", "url(", "fetch("}) {
    EXPECT_FALSE(shows(html, outside)) << outside;
  }
  EXPECT_TRUE(shows(html, "width=device-width"));
  EXPECT_TRUE(shows(html, "prefers-color-scheme: dark"));
}

TEST_F(Report, ShowsScoresBlindRunMarginParametersAndTime) {
  const std::string html = render();
  EXPECT_TRUE(shows(html, "<h1>Cones &amp; dogs</h1>"));
  EXPECT_TRUE(shows(html, "Skill &lt;routed&gt;"));
  // Plan: 4 right of 5 stated and 5 true; blind: 1 right of 1 and 5.
  EXPECT_TRUE(
      shows(html, "<div class=\"value\">80.0</div><div class=\"more\">+46.7 vs blind (33.3)"));
  EXPECT_TRUE(shows(html, "<td>+46.7</td>"));
  EXPECT_TRUE(shows(html, ">1.50 M</td><td>3.00 M</td>"));
  EXPECT_TRUE(shows(html, "1 min 15 s"));
  EXPECT_TRUE(shows(html, "Not comparable with published"));
}

size_t count_of(const std::string& text, const std::string& part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

TEST_F(Report, SummaryHasOfficialScoresAndPublishedOnesWhereAskedFor) {
  // Suggestion: 1 of 2 stated and 2 true facts of the first scene, all of the others: 50, 100, 100.
  const std::string html = render();
  EXPECT_TRUE(shows(html, "<td data-v=\"83.333333\">83.3<span class=\"pm\">"));
  EXPECT_FALSE(shows(html, "CODA-VLM")) << "the facts judge is not comparable";
  spec["published"] = resource("published/coda_lm.json").string();
  const std::string with = render();
  EXPECT_EQ(unbalanced(with), "");
  EXPECT_TRUE(shows(with, "<tr class=\"published\"><th>CODA-VLM"));
  EXPECT_TRUE(shows(with, "<td data-v=\"63.620000\">63.6</td>"));
  EXPECT_TRUE(shows(with, "arxiv.org/abs/2404.10595"));
  spec["published"] = "none";
  EXPECT_FALSE(shows(render(), "class=\"published\""));
}

TEST_F(Report, ItemsShowAnswersVerdictsAndEachPictureOnce) {
  const std::string html = render();
  EXPECT_TRUE(shows(html,
                    "data-task=\"driving_suggestion\" data-kind=\"disputed worst\" "
                    "data-score=\"50.000000\""));
  EXPECT_TRUE(shows(html, "<h5>Reference</h5><p>Slow down and keep left.</p>"));
  EXPECT_TRUE(shows(html, "<b>text</b>"));
  const std::string picture = report::base64(read_file(set.root / set.image(0)));
  spec["samples"] = 0;
  EXPECT_EQ(count_of(render(), "base64," + picture), 3u)
      << "three scenes, whose pictures are alike";
  EXPECT_TRUE(shows(html, "<th>test_0001 &middot; 1</th>"));
  spec["items"] = 0;
  EXPECT_FALSE(shows(render(), "id=\"items\""));
}

TEST_F(Report, SkillsRegionsAndAgreementAreTables) {
  const std::string html = render();
  EXPECT_TRUE(
      shows(html, "<tr><th>longitudinal</th><td class=\"soft\" data-v=\"3.000000\">3</td>"));
  EXPECT_TRUE(shows(html, "<tr><th>cone</th>"));
  EXPECT_TRUE(shows(html, "<section id=\"judges\">"));
  EXPECT_TRUE(shows(html, "<th>facts</th><td class=\"text\">text</td>"));
}

TEST_F(Report, ControlsAndCountsOfThePredictionAreDeclared) {
  save_json(set.dir / "answers" / "predict.json", {{"form", "multi_turn"},
                                                   {"oracle_category", true},
                                                   {"decoder_passes", 1234},
                                                   {"seconds", 61}});
  save_json(set.dir / "blind" / "predict.json", {{"blind", true}, {"seconds", 3}});
  const std::string html = render();
  EXPECT_EQ(unbalanced(html), "");
  // An arm without a folder of answers has what score took over from it.
  Json scores = load_json(set.dir / "scores.json");
  EXPECT_FALSE(scores.contains("predict"));
  scores["predict"] = {{"shuffled_images", true}, {"decoder_passes", 4321}};
  save_json(set.dir / "scores.json", scores);
  const std::string taken_over = render();
  EXPECT_TRUE(shows(taken_over, ">shuffled images</td>"));
  EXPECT_TRUE(shows(taken_over, ">4321</td>"));
  EXPECT_TRUE(shows(html,
                    "<td class=\"text\">multi turn</td><td class=\"text\">oracle: true "
                    "category in the prompt</td>"));
  EXPECT_TRUE(shows(html, ">1234</td>"));
  EXPECT_TRUE(shows(html, "(control)</th>"));
  EXPECT_TRUE(shows(html, ">1 min 01 s</td>"));
}

TEST_F(Report, TablesHoldTheSameFigures) {
  save_json(set.dir / "routing.json", routing);
  save_json(set.dir / "spec.json", spec);
  const Json tables = tables_json(report_tables(load_report_spec(set.dir / "spec.json")));
  const Json& plan = tables["scores"][2];
  EXPECT_EQ(plan["task"], "driving_suggestion");
  EXPECT_NEAR(plan["official"], 250 / 3.0, 1e-9);
  EXPECT_LE(plan["low"], plan["official"]);
  EXPECT_EQ(plan["items"], 3);
  EXPECT_EQ(tables["scores"][3]["task"], "final");
  EXPECT_EQ(tables["runs"][0]["activated parameters"], 1500000);
  EXPECT_NEAR(tables["facts"][2]["f1"], 80, 1e-9);
  EXPECT_EQ(tables["pairs of dense"][0]["judge A"], "facts");
  EXPECT_FALSE(tables.contains("published"));
}

TEST_F(Report, FoldersOfScoreNeedNoSpec) {
  const ReportSpec two = report_spec_of({set.dir.string() + "/", "other=" + set.dir.string()});
  EXPECT_EQ(two.arms[0].name, set.dir.filename());
  EXPECT_EQ(two.arms[1].name, "other");
  EXPECT_EQ(unbalanced(render_report(two)), "");
  EXPECT_THROW(report_spec_of({"a/x", "b/x"}), UsageError);
  EXPECT_THROW(report_spec_of({}), UsageError);
}

TEST_F(Report, MarksRightWrongAndMissedFactsOfEverySample) {
  const std::string html = render();
  EXPECT_TRUE(shows(html, "Slow &lt;down&gt; &amp; come to a stop."));
  EXPECT_TRUE(shows(html,
                    "<span class=\"chip right\">&#10003;&nbsp;slow down</span>"
                    "<span class=\"chip wrong\">&#10007;&nbsp;stop</span>"
                    "<span class=\"chip missed\">keep left</span>"));
  EXPECT_TRUE(shows(html, "cone @ ego lane"));
  EXPECT_TRUE(
      shows(html, "data:image/jpeg;base64," + report::base64(read_file(set.root / set.image(0)))));
  EXPECT_TRUE(shows(html, "<rect x=\"2\" y=\"3\" width=\"10\" height=\"8\"/>"));
}

TEST_F(Report, DrawsOneCurveForEachStageAndPartOfTheAnswer) {
  const std::string html = render();
  for (const char* title : {"<h4>Router</h4>", "<h4>Finetune</h4>",
                            "<h4>Description, finetune</h4>", "<h4>Plan, finetune</h4>"}) {
    EXPECT_TRUE(shows(html, title)) << title;
  }
  EXPECT_FALSE(shows(html, "Reasoning, finetune")) << "Reasoning, finetune";
  // Step 6 of the run is step 1 of its second stage.
  EXPECT_TRUE(shows(html, "step of the stage 1: 0.3333"));
  // A validation is a curve of its own.
  EXPECT_TRUE(shows(html, "<h4>Finetune, held-out samples</h4>"));
  EXPECT_TRUE(shows(html, "step of the stage 15: 0.7500"));
}

TEST_F(Report, HeatMapShowsSharesAssignmentAndSkillsWithoutTokens) {
  const std::string html = render();
  EXPECT_TRUE(shows(html, "<title>vehicle, expert 0: 87.5 %, assigned</title>"));
  EXPECT_TRUE(shows(html, "<title>vehicle, expert 1: 12.5 %</title>"));
  EXPECT_TRUE(shows(html, "<title>blockage, expert 1: no tokens, assigned</title>"));
  EXPECT_TRUE(shows(html, "<title>all tokens, expert 0: 75.0 %</title>"));
  for (const char* title : {"<h4>Before router pretraining</h4>", "<h4>After fine-tuning</h4>"}) {
    EXPECT_FALSE(shows(html, title)) << title;
  }
  routing["before"] = routing["final"] = routing["after"];
  routing["before"]["layers"][0]["stage_accuracy"] = 0.25;
  const std::string course = render();
  EXPECT_TRUE(shows(course, "<h4>Before router pretraining</h4>"));
  EXPECT_TRUE(shows(course, "<h4>After fine-tuning</h4>"));
  EXPECT_TRUE(shows(course, "stage accuracy 25.0&nbsp;% &rarr; 90.0&nbsp;% &rarr; 90.0&nbsp;%"));
}

TEST_F(Report, WhatTheSpecLeavesOutIsLeftOut) {
  spec = {{"arms", {{{"name", "only"}, {"scores", "scores.json"}}}}};
  const std::string html = render();
  EXPECT_EQ(unbalanced(html), "");
  for (const char* id : {"id=\"samples\"", "id=\"routing\"", "id=\"training\""}) {
    EXPECT_FALSE(shows(html, id)) << id;
  }
}

TEST_F(Report, ATruncatedMetricsFileNamesFileAndLine) {
  write_file(metrics, read_file(metrics) + "{\"step\": 21, \"sta");
  EXPECT_THAT(error<DataError>(), HasSubstr("metrics.jsonl:22"));
}

TEST_F(Report, AHeatMapOfTheWrongShapeNamesFileAndField) {
  routing["after"]["layers"][0]["skill_expert"][1] = {0.5};
  const std::string message = error<DataError>();
  EXPECT_THAT(message, HasSubstr("routing.json: after: layers[0]: skill_expert[1]"));
  EXPECT_THAT(message, HasSubstr("expected a list of 2 numbers, found 1"));
}

TEST_F(Report, BadSpecsAreRefused) {
  const Json good = spec;
  const std::vector<std::pair<std::function<void()>, const char*>> cases = {
      {[&] { spec["arms"][0]["lable"] = "x"; }, "label"},
      {[&] { spec["arms"] = Json::array(); }, "at least one"},
      {[&] { spec["arms"][1]["name"] = "skill"; }, "taken by an earlier arm"},
      {[&] { spec["arms"][0].erase("scores"); }, "scores is missing"},
      {[&] { spec["split"] = "Tset"; }, "Tset"},
      {[&] { spec["items"] = -1; }, "items"},
  };
  for (const auto& [spoil, message] : cases) {
    spec = good;
    spoil();
    EXPECT_THAT(error<UsageError>(), HasSubstr(message));
  }
  spec = good;
  spec["arms"][0]["scores"] = "absent.json";
  EXPECT_THAT(error<DataError>(), HasSubstr("absent.json"));
}

TEST(Base64, KnownValues) {
  // RFC 4648, section 10.
  EXPECT_EQ(report::base64(""), "");
  EXPECT_EQ(report::base64("f"), "Zg==");
  EXPECT_EQ(report::base64("fo"), "Zm8=");
  EXPECT_EQ(report::base64("foo"), "Zm9v");
  EXPECT_EQ(report::base64("foobar"), "Zm9vYmFy");
}

TEST(LineChart, LongCurvesAreThinnedToMeans) {
  report::Series series{"a", "red", {}};
  for (int i = 0; i < 1200; ++i) series.points.push_back({double(i), i % 2 ? 1.0 : 3.0});
  const std::string svg = report::line_chart("n", "step", {series});
  size_t points = 0;
  for (size_t at = svg.find("<circle"); at != std::string::npos; at = svg.find("<circle", at + 1))
    ++points;
  EXPECT_EQ(points, 120u);
  EXPECT_THAT(svg, HasSubstr(": 2.0000</title>"));
  EXPECT_EQ(report::line_chart("n", "step", {}), "");
}

}  // namespace
}  // namespace mose::eval
