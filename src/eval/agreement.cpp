#include "mose/eval/agreement.h"

#include <algorithm>
#include <cmath>
#include <set>

#include "mose/coda/answers.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace fs = std::filesystem;
namespace {

using Raters = std::vector<std::pair<std::string, RatedItems>>;

RaterSummary summary(const std::string& name, const RatedItems& rated) {
  RaterSummary out{name};
  std::vector<double> scores;
  std::vector<std::vector<double>> ratings;
  for (const auto& [key, item] : rated) {
    if (!item.item.prediction) continue;
    ratings.push_back(item.ratings);
    if (item.ratings.empty()) {
      ++out.unjudged;
    } else {
      scores.push_back(mean(item.ratings));
    }
  }
  out.items = static_cast<int64_t>(scores.size());
  out.mean = mean(scores);
  out.noise = repeat_noise(ratings);
  return out;
}

void add_pair(const Raters& raters, size_t i, size_t j, const std::string& task,
              std::vector<RaterPair>& pairs) {
  std::vector<double> x, y;
  RaterPair out{raters[i].first, raters[j].first, task};
  for (const auto& [key, item] : raters[i].second) {
    const auto other = raters[j].second.find(key);
    if (other == raters[j].second.end() || !item.item.prediction) continue;
    if (task != "all" && key.task != task) continue;
    if (item.ratings.empty() || other->second.ratings.empty()) continue;
    x.push_back(mean(item.ratings));
    y.push_back(mean(other->second.ratings));
    out.difference += x.back() - y.back();
    out.absolute_difference += std::abs(x.back() - y.back());
  }
  if (x.empty()) return;
  const double n = static_cast<double>(x.size());
  out.items = static_cast<int64_t>(x.size());
  out.difference /= n;
  out.absolute_difference /= n;
  out.kappa = weighted_kappa(x, y);
  out.pearson = pearson(x, y);
  out.spearman = spearman(x, y);
  pairs.push_back(std::move(out));
}

void check_same_answers(const Raters& raters) {
  std::map<ItemKey, std::pair<const Item*, std::string>> first;
  for (const auto& [name, rated] : raters) {
    for (const auto& [key, item] : rated) {
      const auto [it, added] = first.try_emplace(key, &item.item, name);
      if (!added && it->second.first->prediction != item.item.prediction) {
        throw DataError(str(item_label(key), ": ", it->second.second, " and ", name,
                            " rated different answers; agreement needs the same ones"));
      }
    }
  }
}

// The items that at least two raters rated, the most disputed first.
std::vector<DisputedItem> spreads(const Raters& raters) {
  std::map<ItemKey, DisputedItem> items;
  for (size_t r = 0; r < raters.size(); ++r) {
    for (const auto& [key, item] : raters[r].second) {
      if (!item.item.prediction || item.ratings.empty()) continue;
      DisputedItem& entry = items[key];
      entry.key = key;
      entry.scores.resize(raters.size());
      entry.scores[r] = mean(item.ratings);
    }
  }
  std::vector<DisputedItem> out;
  for (auto& [key, entry] : items) {
    std::vector<double> present;
    for (const auto& score : entry.scores) {
      if (score) present.push_back(*score);
    }
    if (present.size() < 2) continue;
    entry.deviation = std::sqrt(sample_variance(present));
    out.push_back(std::move(entry));
  }
  std::stable_sort(out.begin(), out.end(), [](const DisputedItem& a, const DisputedItem& b) {
    return a.deviation > b.deviation;
  });
  return out;
}

Json finite(double value) {
  return std::isfinite(value) ? Json(value) : Json();
}

}  // namespace

Agreement agreement(const Raters& raters, size_t disputed) {
  check_same_answers(raters);
  Agreement out;
  for (const auto& [name, rated] : raters) out.raters.push_back(summary(name, rated));
  for (size_t i = 0; i < raters.size(); ++i) {
    for (size_t j = i + 1; j < raters.size(); ++j) {
      add_pair(raters, i, j, "all", out.pairs);
      for (const char* task : coda::kTasks) add_pair(raters, i, j, task, out.pairs);
    }
  }
  out.disputed = spreads(raters);
  for (const DisputedItem& item : out.disputed) out.mean_deviation += item.deviation;
  if (!out.disputed.empty()) out.mean_deviation /= static_cast<double>(out.disputed.size());
  if (out.disputed.size() > disputed) out.disputed.resize(disputed);
  return out;
}

Agreement agreement(const std::vector<fs::path>& folders, size_t disputed) {
  Raters raters;
  std::map<std::string, int> used;
  std::vector<std::pair<std::string, std::vector<Item>>> loaded;
  for (const fs::path& folder : folders) {
    loaded.emplace_back(folder.string(), load_items(folder));
    for (const std::string& judge : judges_of(loaded.back().second)) ++used[judge];
  }
  for (const auto& [folder, items] : loaded) {
    for (const std::string& judge : judges_of(items)) {
      raters.emplace_back(used[judge] > 1 ? str(folder, ": ", judge) : judge,
                          rated_by(items, judge));
    }
  }
  Agreement out = agreement(raters, disputed);
  const bool repeated = std::any_of(out.raters.begin(), out.raters.end(),
                                    [](const RaterSummary& r) { return r.noise.items > 0; });
  if (out.pairs.empty() && !repeated) {
    throw DataError(str(folders.front().string(),
                        raters.size() > 1 ? " and the others share no "
                                            "rated item"
                                          : " holds one judge that rated "
                                            "every answer once",
                        ": there is nothing to compare"));
  }
  return out;
}

std::vector<Table> agreement_tables(const Agreement& agreement) {
  Table raters{
      "raters",
      "",
      {"judge", "items", "unjudged", "mean", "repeated items", "changed", "noise", "range"},
      {},
      1};
  for (const RaterSummary& r : agreement.raters) {
    const bool repeated = r.noise.items > 0;
    raters.rows.push_back({r.name, r.items, r.unjudged, r.mean, r.noise.items,
                           repeated ? Json(r.noise.changed) : Json(),
                           repeated ? Json(r.noise.deviation) : Json(),
                           repeated ? Json(r.noise.range) : Json()});
  }
  std::vector<Table> out = {raters};
  Table pairs{
      "pairs",
      "",
      {"judge A", "judge B", "task", "items", "kappa", "pearson", "spearman", "A - B", "|A - B|"},
      {},
      3};
  for (const RaterPair& p : agreement.pairs) {
    pairs.rows.push_back({p.a, p.b, p.task, p.items, finite(p.kappa), finite(p.pearson),
                          finite(p.spearman), p.difference, p.absolute_difference});
  }
  if (!pairs.rows.empty()) out.push_back(pairs);
  Table disputed{"disputed", "", {"item"}, {}, 1};
  for (const RaterSummary& r : agreement.raters) disputed.columns.push_back(r.name);
  disputed.columns.push_back("spread");
  for (const DisputedItem& item : agreement.disputed) {
    std::vector<Json> row = {item_label(item.key)};
    for (const auto& score : item.scores) row.push_back(score ? Json(*score) : Json());
    row.push_back(item.deviation);
    disputed.rows.push_back(std::move(row));
  }
  if (!disputed.rows.empty()) out.push_back(disputed);
  return out;
}

}  // namespace mose::eval
