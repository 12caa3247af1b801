// One static HTML file that shows what a comparison of models found. No network, no scripts that
// it needs to be read, light and dark.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/config.h"

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
  std::string lexicon;             // "" for configs/facts/driving.json
  int64_t samples = 6;             // pictures, evenly spaced over the split
  std::vector<std::string> notes;  // paragraphs under "About these numbers"
  std::vector<ArmSpec> arms;       // the first one is the one that the headline is about

  void visit(FieldVisitor& v);
};

// UsageError on an unknown key, no arms, or two arms of one name; every path comes back absolute.
ReportSpec load_report_spec(const std::filesystem::path& file);

// The HTML text. DataError names file (and line, field) of what is missing or malformed.
std::string render_report(const ReportSpec& spec);

}  // namespace mose::eval
