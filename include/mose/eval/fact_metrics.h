// Precision, recall and F1 of stated facts against true ones.
#pragma once

#include <cstdint>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/eval/facts.h"

namespace mose::eval {

struct FactCounts {
  int64_t right = 0;      // stated and true
  int64_t predicted = 0;  // stated
  int64_t expected = 0;   // true

  FactCounts& operator+=(const FactCounts& other);
  // right / predicted and right / expected. Without a single fact on that side: 1 when the other
  // side has none either (nothing to say, nothing said), else 0.
  double precision() const;
  double recall() const;
  double f1() const;  // 2 · right / (predicted + expected); 1 when both are empty
};

FactCounts count_facts(const std::set<std::string>& predicted,
                       const std::set<std::string>& expected);

// "traffic_cone@ego_lane" and "traffic_cone:blockage" -> "traffic_cone"; "weather:rain" ->
// "weather"; "slow_down" -> "slow_down".
std::string fact_class(const std::string& fact);

// Facts of one stage over many items, with micro averages (counts are summed, then divided).
class FactScore {
 public:
  void add(const std::set<std::string>& predicted, const std::set<std::string>& expected);

  const FactCounts& total() const { return total_; }
  // {"precision", "recall", "f1", "f1_interval": [low, high], "count" (items), "right",
  // "predicted",
  //  "expected", "per_class": {class: {precision, recall, f1, right, predicted, expected}},
  //  "parts": {name: same}}. The interval holds 95 % of bootstrap resamples over the items. Parts
  // that never occur are left out:
  //   classes  which classes are there, wherever they are
  //   places   the class@place facts of those classes that both sides name
  //   weather, time
  //   risks    the class:risk facts of those classes that both sides name
  Json to_json() const;

 private:
  std::vector<FactCounts> items_;
  FactCounts total_;
  std::map<std::string, FactCounts> classes_, parts_;
};

// The 2.5 % and 97.5 % quantiles of the micro F1 over `resamples` draws of items with replacement;
// the same items give the same interval.
std::pair<double, double> bootstrap_f1(const std::vector<FactCounts>& items,
                                       int64_t resamples = 1000);

}  // namespace mose::eval
