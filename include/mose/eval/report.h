// One static HTML file that shows what a comparison of models found. It loads nothing from anywhere
// and can be read without its script, which sorts and filters; light and dark.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/config.h"
#include "mose/eval/tables.h"

namespace mose::eval {

// One model of the comparison. Only `name` and `scores` are needed; what is left out is left out
// of the report.
struct ArmSpec {
  std::string name;               // "skill"
  std::string label;              // "Skill-routed MoE"; the name when empty
  std::string scores;             // scores.json as `mose-eval score` wrote it
  std::vector<std::string> runs;  // run directories with metrics.jsonl, in the order they were run
  std::string answers;            // folder of answer files, for the sample pictures
  std::string blind_answers;
  std::string items;    // items.jsonl; "" for the one beside scores.json, where there is one
  std::string predict;  // predict.json of the answers; "" for the one in their folder or
                        // in scores.json
  std::string routing;  // routing.json of a run: the header, "before", "after", "final"
  int64_t activated_parameters = 0, total_parameters = 0;  // 0: not known
  double train_seconds = 0;

  void visit(FieldVisitor& v);
};

// {"title": ..., "coda": DIR, "split": NAME, "arms": [{...}]}. Paths are relative to the folder of
// the spec file.
struct ReportSpec {
  std::string title = "Evaluation";
  std::string subtitle;
  std::string coda;  // root of the set, for the sample pictures; "" leaves them out
  std::string split;
  std::string lexicon;  // "" for configs/facts/driving.json
  int64_t samples = 6;  // pictures, evenly spaced over the split
  int64_t items = 3;    // worst, best and most disputed answers shown of each task
  // Scores of others beside the arms': "" for configs/published/coda_lm.json where the judge is
  // comparable with them, "none", or a file of that form.
  std::string published;
  std::vector<std::string> notes;  // paragraphs under "About these numbers"
  std::vector<ArmSpec> arms;       // the first one is the one that the headline is about

  void visit(FieldVisitor& v);
};

// UsageError on an unknown key, no arms, or two arms of one name; every path comes back absolute.
ReportSpec load_report_spec(const std::filesystem::path& file);
// From folders that `mose-eval score` wrote: "DIR" (named after its last part) or "NAME=DIR".
ReportSpec report_spec_of(const std::vector<std::string>& folders);

// The HTML text. DataError names file (and line, field) of what is missing or malformed.
std::string render_report(const ReportSpec& spec);

// The report's figures: "scores" (system, task: official, interval, strict, counts), "parts"
// (region classes and skills), "facts", "text", "mentions", "runs", "published" and, of arms with
// several judges or repeats, "raters" and "pairs". Tables without rows are left out.
std::vector<Table> report_tables(const ReportSpec& spec);

}  // namespace mose::eval
