// Two systems on the same items under one judge.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/items.h"
#include "mose/eval/statistics.h"
#include "mose/eval/tables.h"

namespace mose::eval {

struct CompareOptions {
  std::filesystem::path a, b;      // folders that mose-eval score wrote
  std::string judge;               // empty for the first one of A
  bool common = false;             // compare what both have instead of refusing
  std::filesystem::path taxonomy;  // for the skills; empty for configs/skills/driving.json
  int64_t resamples = kResamples;
  uint64_t seed = 0;
};

// Means of a part of the items, 0 to 100; a missing answer has the judge's lowest score.
struct ComparedPart {
  std::string kind;  // "final" (mean of the tasks' means), "task", "region class" or "skill"
  std::string name;
  int64_t items = 0;
  double a = 0, b = 0, difference = 0;  // A - B
  Interval interval;                    // of the difference, 95 %, drawn by scene
  WinTieLoss counts;                    // a win: A's score is the higher one
  double p_sign = 1;                    // sign test over items
  double p_random = 1;                  // sign flips by scene
};

struct Comparison {
  std::string judge;
  std::vector<ComparedPart> parts;
  int64_t only_a = 0, only_b = 0;        // items that the other folder lacks; not compared
  int64_t unjudged = 0;                  // items that one of them has no rating for; not compared
  int64_t missing_a = 0, missing_b = 0;  // answers that are not there; compared as the lowest score
};

// DataError when the folders do not hold the same items (unless `common`), when the reference of an
// item differs, when nothing is left, or when B lacks the judge or was judged under another
// protocol; UsageError when A lacks the judge.
Comparison compare(const CompareOptions& options);

Table comparison_table(const Comparison& comparison);
// {"judge", "items": {only_a, ...}, "parts": [{...}]}
Json comparison_json(const Comparison& comparison);
// What was counted, in one line.
std::string comparison_note(const Comparison& comparison);

}  // namespace mose::eval
