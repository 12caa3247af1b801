#include "mose/eval/report.h"

#include <algorithm>
#include <set>

#include "eval/report_estimates.h"
#include "eval/report_parts.h"
#include "mose/coda/annotation.h"
#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/program.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;

void ArmSpec::visit(FieldVisitor& v) {
  v.field("name", name, "short name, unique among the arms");
  v.field("label", label, "name for readers; the short name when empty");
  v.field("scores", scores, "scores.json written by mose-eval score");
  v.field("runs", runs, "run directories with metrics.jsonl, in order");
  v.field("answers", answers, "folder of answer files");
  v.field("blind_answers", blind_answers, "answer files of the blind run");
  v.field("items", items, "items.jsonl; empty for the one beside the scores, where there is one");
  v.field("predict", predict,
          "predict.json; empty for the one in the folder of answers or in the scores");
  v.field("routing", routing,
          "routing.json of a run: before and after router pretraining, after fine-tuning");
  v.field("activated_parameters", activated_parameters, "parameters a token uses; 0: not known", 0);
  v.field("total_parameters", total_parameters, "all parameters; 0: not known", 0);
  v.field("train_seconds", train_seconds, "training time; 0: not known", 0);
}

void ReportSpec::visit(FieldVisitor& v) {
  v.field("title", title, "heading");
  v.field("subtitle", subtitle, "line under the heading");
  v.field("coda", coda, "root of the set; empty leaves sample pictures out");
  v.field("split", split, "Train, Val, Test or Mini");
  v.field("lexicon", lexicon, "phrases of the facts; empty for configs/facts/driving.json");
  v.field("samples", samples, "number of sample pictures", 0, 100);
  v.field("items", items, "worst, best and most disputed answers shown of each task", 0, 100);
  v.field(
      "published", published,
      "scores of others: empty for configs/published/coda_lm.json where the judge is comparable, "
      "none, or a file");
  v.field("notes", notes, "paragraphs under \"About these numbers\"");
  v.list("arms", arms, "the models that are compared; the first one leads");
}

ReportSpec load_report_spec(const fs::path& file) {
  ReportSpec spec;
  from_json_config(spec, load_json(file), file.string());
  if (spec.arms.empty()) throw UsageError(str(file.string(), ": arms: expected at least one"));
  std::set<std::string> names;
  const fs::path base = fs::absolute(file).parent_path();
  const auto resolve = [&](std::string& path) {
    if (!path.empty()) path = (base / path).lexically_normal().string();
  };
  for (size_t i = 0; i < spec.arms.size(); ++i) {
    ArmSpec& arm = spec.arms[i];
    const std::string where = str(file.string(), ": arms[", i, "]");
    if (arm.name.empty()) throw UsageError(where + ": name is missing");
    if (arm.scores.empty()) throw UsageError(where + ": scores is missing");
    if (!names.insert(arm.name).second) {
      throw UsageError(str(where, ": name \"", arm.name, "\" is taken by an earlier arm"));
    }
    for (std::string* path :
         {&arm.scores, &arm.answers, &arm.blind_answers, &arm.items, &arm.predict, &arm.routing}) {
      resolve(*path);
    }
    for (std::string& run : arm.runs) resolve(run);
  }
  if (!spec.coda.empty()) coda::split_name(spec.split);
  resolve(spec.coda);
  resolve(spec.lexicon);
  if (spec.published != "none") resolve(spec.published);
  return spec;
}

ReportSpec report_spec_of(const std::vector<std::string>& folders) {
  ReportSpec spec;
  std::set<std::string> names;
  for (const std::string& folder : folders) {
    const size_t sign = folder.find('=');
    const fs::path dir = fs::absolute(sign == std::string::npos ? folder : folder.substr(sign + 1));
    ArmSpec arm;
    arm.name = sign == std::string::npos ? dir.lexically_normal().filename().string()
                                         : folder.substr(0, sign);
    if (arm.name.empty()) arm.name = dir.lexically_normal().parent_path().filename().string();
    if (!names.insert(arm.name).second) {
      throw UsageError(str("--scores ", folder, ": the name \"", arm.name,
                           "\" is taken by an earlier one; NAME=DIR gives another"));
    }
    arm.scores = (dir / "scores.json").string();
    spec.arms.push_back(std::move(arm));
  }
  if (spec.arms.empty()) throw UsageError("report: expected --spec FILE or --scores DIR");
  return spec;
}

namespace report {
namespace {

Json json_or_null(const fs::path& file) {
  return fs::exists(file) ? load_json(file) : Json();
}

Json load_predict(const std::string& file, const std::string& answers) {
  if (!file.empty()) return load_json(file);
  return answers.empty() ? Json() : json_or_null(fs::path(answers) / "predict.json");
}

}  // namespace

std::vector<Arm> load_arms(const ReportSpec& spec) {
  std::vector<Arm> arms;
  for (size_t i = 0; i < spec.arms.size(); ++i) {
    const ArmSpec& from = spec.arms[i];
    Arm arm{&from, i, from.label.empty() ? from.name : from.label, load_json(from.scores)};
    json_object(arm.scores, "tasks", from.scores);
    arm.judge = arm.scores.contains("judge") ? json_string(arm.scores, "judge", from.scores) : "";
    const fs::path beside = fs::path(from.scores).parent_path() / "items.jsonl";
    if (!from.items.empty() || fs::exists(beside)) {
      arm.items = load_items(from.items.empty() ? beside : fs::path(from.items));
      arm.rated = rated_by(arm.items, arm.judge);
    }
    arm.predict = load_predict(from.predict, from.answers);
    if (arm.predict.is_null()) arm.predict = arm.scores.value("predict", Json());
    arm.blind_predict = load_predict("", from.blind_answers);
    arms.push_back(std::move(arm));
  }
  return arms;
}

std::optional<PublishedScores> published_scores(const ReportSpec& spec,
                                                const std::vector<Arm>& arms) {
  if (spec.published == "none") return std::nullopt;
  if (!spec.published.empty()) return load_published(spec.published);
  const bool comparable = std::any_of(arms.begin(), arms.end(), [](const Arm& arm) {
    return arm.scores.value("comparable", Json()) == true;
  });
  if (!comparable) return std::nullopt;
  return load_published(resource("published/coda_lm.json"));
}

}  // namespace report

namespace {

using report::Arm;

std::string notes_section(const ReportSpec& spec, const std::vector<Arm>& arms) {
  std::string out = "<section id=\"about\"><h2>About these numbers</h2><div class=\"prose\">\n";
  const Json& scores = arms.front().scores;
  if (scores.contains("comparability") && scores["comparability"].is_string()) {
    out += str("<p>", html_escape(scores["comparability"].get<std::string>()), "</p>\n");
  }
  if (scores.contains("facts")) {
    out +=
        "<p><b>Facts.</b> A rule-based extractor reads classes, places, risks and actions from "
        "each "
        "answer; they are compared with the true facts of the scene. Precision, recall and F1 are "
        "micro averages over the split; a missing answer counts as an empty one. Intervals hold "
        "95&nbsp;% of bootstrap resamples over the scenes.</p>\n";
  }
  if (scores.contains("blind_facts")) {
    out +=
        "<p><b>Blind</b> is the same model shown the mean colour in place of each picture. The "
        "margin is what the pictures are worth to it.</p>\n";
  }
  if (scores.contains("text")) {
    out +=
        "<p><b>ROUGE-L, BLEU and CIDEr-D</b> compare an answer's words with the reference "
        "answer's; "
        "METEOR is left out, since its reference implementation is a Java program with its own "
        "word "
        "lists. <b>Mentions</b> are the classes of CODA that an answer names, against those that "
        "the "
        "reference names.</p>\n";
  }
  for (const std::string& note : spec.notes) out += str("<p>", html_escape(note), "</p>\n");
  return out + "</div></section>\n";
}

}  // namespace

std::string render_report(const ReportSpec& spec) {
  const std::vector<Arm> arms = report::load_arms(spec);
  const std::vector<report::Part> parts = report::estimate_parts(arms);
  const auto published = report::published_scores(spec, arms);
  const std::string scores =
      str("<section id=\"scores\"><h2>Scores</h2>\n",
          report::judge_summary(arms, parts, published ? &*published : nullptr),
          report::score_section(arms), report::part_tables(arms, parts), "</section>\n");
  const std::vector<std::tuple<const char*, const char*, std::string>> sections = {
      {"scores", "Scores", scores},
      {"items", "Items", report::item_section(spec, arms)},
      {"judges", "Judges", report::agreement_section(arms)},
      {"samples", "Samples", report::sample_section(spec, arms)},
      {"runs", "Runs", report::run_section(arms)},
      {"routing", "Routing", report::routing_section(arms)},
      {"training", "Training", report::curve_section(arms)},
      {"about", "About", notes_section(spec, arms)}};
  std::string links, body;
  for (const auto& [id, title, text] : sections) {
    if (text.empty()) continue;
    links += str("<a href=\"#", id, "\">", title, "</a>");
    body += text;
  }

  return str(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; img-src data:; "
      "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n<title>",
      html_escape(spec.title), "</title>\n<style>\n", report::style(),
      "</style>\n</head>\n<body>\n", "<header><div class=\"eyebrow\">mose",
      spec.split.empty() ? "" : " &middot; ",
      spec.split.empty() ? "" : html_escape(spec.split) + " split", "</div>\n<h1>",
      html_escape(spec.title), "</h1>\n",
      spec.subtitle.empty() ? "" : str("<p class=\"lead\">", html_escape(spec.subtitle), "</p>\n"),
      "<nav>", links, "</nav></header>\n<main>\n", report::headline_cards(arms), body,
      "</main>\n<footer>Written by mose-eval ", html_escape(version()), "</footer>\n<script>\n",
      report::script(), "</script>\n</body>\n</html>\n");
}

}  // namespace mose::eval
