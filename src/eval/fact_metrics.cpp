#include "mose/eval/fact_metrics.h"

#include <algorithm>
#include <cmath>
#include <iterator>

#include "mose/core/random.h"

namespace mose::eval {
namespace {

double share(int64_t right, int64_t of, int64_t other) {
  if (of == 0) return other == 0 ? 1 : 0;
  return static_cast<double>(right) / static_cast<double>(of);
}

Json counts_to_json(const FactCounts& c) {
  return {{"precision", c.precision()}, {"recall", c.recall()},     {"f1", c.f1()},
          {"right", c.right},           {"predicted", c.predicted}, {"expected", c.expected}};
}

// '@' for a place, ':' for a risk, weather or time, 0 for an action.
char separator(const std::string& fact) {
  const size_t at = fact.find_first_of("@:");
  return at == std::string::npos ? '\0' : fact[at];
}

struct Parts {
  std::set<std::string> classes, places, risks, weather, time;
};

Parts take_apart(const std::set<std::string>& facts) {
  Parts parts;
  for (const std::string& fact : facts) {
    const std::string name = fact_class(fact);
    if (name == "weather") {
      parts.weather.insert(fact);
    } else if (name == "time") {
      parts.time.insert(fact);
    } else if (separator(fact) != '\0') {
      parts.classes.insert(name);
      (separator(fact) == '@' ? parts.places : parts.risks).insert(fact);
    }
  }
  return parts;
}

std::set<std::string> of_classes(const std::set<std::string>& facts,
                                 const std::set<std::string>& classes) {
  std::set<std::string> out;
  for (const std::string& fact : facts) {
    if (classes.count(fact_class(fact))) out.insert(fact);
  }
  return out;
}

}  // namespace

FactCounts& FactCounts::operator+=(const FactCounts& other) {
  right += other.right;
  predicted += other.predicted;
  expected += other.expected;
  return *this;
}

double FactCounts::precision() const {
  return share(right, predicted, expected);
}
double FactCounts::recall() const {
  return share(right, expected, predicted);
}
double FactCounts::f1() const {
  return share(2 * right, predicted + expected, 0);
}

FactCounts count_facts(const std::set<std::string>& predicted,
                       const std::set<std::string>& expected) {
  FactCounts counts;
  counts.predicted = static_cast<int64_t>(predicted.size());
  counts.expected = static_cast<int64_t>(expected.size());
  for (const std::string& fact : predicted) counts.right += expected.count(fact) ? 1 : 0;
  return counts;
}

std::string fact_class(const std::string& fact) {
  return fact.substr(0, fact.find_first_of("@:"));
}

void FactScore::add(const std::set<std::string>& predicted, const std::set<std::string>& expected) {
  items_.push_back(count_facts(predicted, expected));
  total_ += items_.back();
  for (const std::string& fact : predicted) {
    FactCounts& counts = classes_[fact_class(fact)];
    ++counts.predicted;
    if (expected.count(fact)) ++counts.right;
  }
  for (const std::string& fact : expected) ++classes_[fact_class(fact)].expected;

  const Parts a = take_apart(predicted), b = take_apart(expected);
  std::set<std::string> both;
  std::set_intersection(a.classes.begin(), a.classes.end(), b.classes.begin(), b.classes.end(),
                        std::inserter(both, both.end()));
  const auto part = [&](const char* name, const auto& p, const auto& e) {
    if (!p.empty() || !e.empty()) parts_[name] += count_facts(p, e);
  };
  part("classes", a.classes, b.classes);
  part("places", of_classes(a.places, both), of_classes(b.places, both));
  part("risks", of_classes(a.risks, both), of_classes(b.risks, both));
  part("weather", a.weather, b.weather);
  part("time", a.time, b.time);
}

Json FactScore::to_json() const {
  const auto [low, high] = bootstrap_f1(items_);
  Json out = counts_to_json(total_);
  out["f1_interval"] = {low, high};
  out["count"] = items_.size();
  Json per_class = Json::object(), parts = Json::object();
  for (const auto& [name, counts] : classes_) per_class[name] = counts_to_json(counts);
  for (const auto& [name, counts] : parts_) parts[name] = counts_to_json(counts);
  out["per_class"] = per_class;
  if (!parts.empty()) out["parts"] = parts;
  return out;
}

std::pair<double, double> bootstrap_f1(const std::vector<FactCounts>& items, int64_t resamples) {
  if (items.empty()) return {0, 0};
  RandomStream random(0, "eval/bootstrap");
  std::vector<double> scores;
  const int64_t last = static_cast<int64_t>(items.size()) - 1;
  for (int64_t r = 0; r < resamples; ++r) {
    FactCounts sum;
    for (size_t i = 0; i < items.size(); ++i) {
      sum += items[static_cast<size_t>(random.integer(0, last))];
    }
    scores.push_back(sum.f1());
  }
  std::sort(scores.begin(), scores.end());
  const auto quantile = [&](double q) {
    return scores[static_cast<size_t>(std::lround(q * static_cast<double>(scores.size() - 1)))];
  };
  return {quantile(0.025), quantile(0.975)};
}

}  // namespace mose::eval
