// Whether judges agree on the same answers, and how noisy each one is.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "mose/eval/items.h"
#include "mose/eval/statistics.h"
#include "mose/eval/tables.h"

namespace mose::eval {

struct RaterSummary {
  std::string name;      // the judge's; "FOLDER: JUDGE" when two folders have one of that name
  int64_t items = 0;     // with a rating
  int64_t unjudged = 0;  // answered, but without one
  double mean = 0;
  RepeatNoise noise;  // from its repeats
};

struct RaterPair {
  std::string a, b, task;  // task "all", or one of coda::kTasks
  int64_t items = 0;       // that both rated
  double kappa = 0, pearson = 0, spearman = 0;
  double difference = 0;           // mean of a - b
  double absolute_difference = 0;  // mean of |a - b|
};

struct DisputedItem {
  ItemKey key;
  std::vector<std::optional<double>> scores;  // by rater
  double deviation = 0;                       // sample standard deviation of the scores
};

struct Agreement {
  std::vector<RaterSummary> raters;
  std::vector<RaterPair> pairs;
  double mean_deviation = 0;           // over the items that two raters or more rated
  std::vector<DisputedItem> disputed;  // the largest deviations first
};

// Every judge of every folder is a rater. Missing answers are left out: no judge rated them.
// DataError when folders hold different answers to an item, or when there is neither a second judge
// nor a repeat to compare with. `disputed` limits that list.
Agreement agreement(const std::vector<std::filesystem::path>& folders, size_t disputed = 20);
Agreement agreement(const std::vector<std::pair<std::string, RatedItems>>& raters,
                    size_t disputed = 20);

// "raters", "pairs" and "disputed"; those without rows are left out.
std::vector<Table> agreement_tables(const Agreement& agreement);

}  // namespace mose::eval
