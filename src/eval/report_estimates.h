// Means with intervals of what the leading judge said, by part of the items.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "eval/report_parts.h"
#include "mose/eval/statistics.h"

namespace mose::eval::report {

struct Estimate {
  int64_t items = 0;  // answered and judged
  double value = 0;   // their mean, as the published scripts form it
  Interval interval;  // 95 %, drawn by scene
};

struct Part {
  std::string kind;  // "final", "task", "region class" or "skill"
  std::string name;
  std::vector<std::optional<Estimate>> by_arm;
};

// Final (where an arm has all three tasks), the tasks, region classes and skills of the reference
// texts; empty when no arm has items.
std::vector<Part> estimate_parts(const std::vector<Arm>& arms);

const Part* find_part(const std::vector<Part>& parts, const std::string& kind,
                      const std::string& name);

}  // namespace mose::eval::report
