#include "mose/eval/report.h"

#include <set>

#include "eval/report_parts.h"
#include "mose/coda/annotation.h"
#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/program.h"
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
    for (std::string* path : {&arm.scores, &arm.answers, &arm.blind_answers, &arm.routing}) {
      resolve(*path);
    }
    for (std::string& run : arm.runs) resolve(run);
  }
  if (!spec.coda.empty()) coda::split_name(spec.split);
  resolve(spec.coda);
  resolve(spec.lexicon);
  return spec;
}

namespace {

using report::Arm;

std::string notes_section(const ReportSpec& spec, const std::vector<Arm>& arms) {
  std::string out = "<section id=\"about\"><h2>About these numbers</h2><div class=\"prose\">\n";
  const Json& scores = arms.front().scores;
  if (scores.contains("comparability") && scores["comparability"].is_string()) {
    out += str("<p>", html_escape(scores["comparability"].get<std::string>()), "</p>\n");
  }
  out +=
      "<p><b>Facts.</b> A rule-based extractor reads classes, places, risks and actions from each "
      "answer; they are compared with the true facts of the scene. Precision, recall and F1 are "
      "micro averages over the split; a missing answer counts as an empty one. Intervals hold "
      "95&nbsp;% of bootstrap resamples over the scenes.</p>\n"
      "<p><b>Blind</b> is the same model shown the mean colour in place of each picture. The "
      "margin "
      "is what the pictures are worth to it.</p>\n"
      "<p><b>ROUGE-L and BLEU</b> compare an answer's words with the reference answer's.</p>\n";
  for (const std::string& note : spec.notes) out += str("<p>", html_escape(note), "</p>\n");
  return out + "</div></section>\n";
}

}  // namespace

std::string render_report(const ReportSpec& spec) {
  std::vector<Arm> arms;
  for (size_t i = 0; i < spec.arms.size(); ++i) {
    const ArmSpec& arm = spec.arms[i];
    arms.push_back({&arm, i, arm.label.empty() ? arm.name : arm.label, load_json(arm.scores)});
    json_object(arms.back().scores, "tasks", arm.scores);
  }
  const std::string scores = report::score_section(arms), curves = report::curve_section(arms),
                    routing = report::routing_section(arms),
                    samples = report::sample_section(spec, arms);
  std::string links = "<a href=\"#scores\">Scores</a>";
  if (!samples.empty()) links += "<a href=\"#samples\">Samples</a>";
  if (!routing.empty()) links += "<a href=\"#routing\">Routing</a>";
  if (!curves.empty()) links += "<a href=\"#training\">Training</a>";
  links += "<a href=\"#about\">About</a>";

  return str(
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>",
      html_escape(spec.title), "</title>\n<style>\n", report::style(),
      "</style>\n</head>\n<body>\n", "<header><div class=\"eyebrow\">mose",
      spec.split.empty() ? "" : " &middot; ",
      spec.split.empty() ? "" : html_escape(spec.split) + " split", "</div>\n<h1>",
      html_escape(spec.title), "</h1>\n",
      spec.subtitle.empty() ? "" : str("<p class=\"lead\">", html_escape(spec.subtitle), "</p>\n"),
      "<nav>", links, "</nav></header>\n<main>\n", report::headline_cards(arms), scores, samples,
      routing, curves, notes_section(spec, arms), "</main>\n<footer>Written by mose-eval ",
      html_escape(version()), "</footer>\n</body>\n</html>\n");
}

}  // namespace mose::eval
