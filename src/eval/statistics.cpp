#include "mose/eval/statistics.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <map>
#include <numeric>

#include "mose/core/error.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::eval {
namespace {

double as_double(size_t n) {
  return static_cast<double>(n);
}

// Sums and counts of a cluster by group.
struct Sums {
  std::vector<double> sum, count;
};

struct Clusters {
  size_t groups = 0;
  std::vector<Sums> clusters;
};

// Groups and clusters renumbered without gaps.
Clusters gather(const std::vector<Observation>& items) {
  std::map<size_t, size_t> groups, clusters;
  for (const Observation& item : items) {
    groups.emplace(item.group, groups.size());
    clusters.emplace(item.cluster, clusters.size());
  }
  Clusters out;
  out.groups = groups.size();
  out.clusters.assign(clusters.size(), {std::vector<double>(groups.size(), 0.0),
                                        std::vector<double>(groups.size(), 0.0)});
  for (const Observation& item : items) {
    Sums& sums = out.clusters[clusters[item.cluster]];
    sums.sum[groups[item.group]] += item.value;
    ++sums.count[groups[item.group]];
  }
  return out;
}

void check_pairs(const std::vector<double>& x, const std::vector<double>& y, const char* what) {
  if (x.size() != y.size()) {
    throw Error(
        str(what, ": expected as many values on both sides, found ", x.size(), " and ", y.size()));
  }
}

double log_choose(int64_t n, int64_t k) {
  return std::lgamma(double(n + 1)) - std::lgamma(double(k + 1)) - std::lgamma(double(n - k + 1));
}

}  // namespace

double mean(const std::vector<double>& values) {
  if (values.empty()) return 0;
  return std::accumulate(values.begin(), values.end(), 0.0) / as_double(values.size());
}

double sample_variance(const std::vector<double>& values) {
  if (values.size() < 2) return 0;
  const double middle = mean(values);
  double sum = 0;
  for (const double v : values) sum += (v - middle) * (v - middle);
  return sum / as_double(values.size() - 1);
}

double quantile(std::vector<double> values, double q) {
  if (values.empty()) throw Error("quantile: expected at least one value");
  std::sort(values.begin(), values.end());
  const double at = q * as_double(values.size() - 1);
  const size_t below = static_cast<size_t>(std::floor(at));
  const size_t above = std::min(below + 1, values.size() - 1);
  return values[below] + (at - as_double(below)) * (values[above] - values[below]);
}

double mean_of_groups(const std::vector<Observation>& items) {
  if (items.empty()) return 0;
  std::map<size_t, std::pair<double, double>> groups;
  for (const Observation& item : items) {
    auto& [sum, count] = groups[item.group];
    sum += item.value;
    ++count;
  }
  double total = 0;
  for (const auto& [group, sums] : groups) total += sums.first / sums.second;
  return total / as_double(groups.size());
}

Interval bootstrap_interval(const std::vector<Observation>& items, int64_t resamples,
                            uint64_t seed) {
  if (items.empty()) return {};
  const Clusters data = gather(items);
  RandomStream random(seed, "eval/bootstrap");
  const int64_t last = static_cast<int64_t>(data.clusters.size()) - 1;
  std::vector<double> means, sum(data.groups), count(data.groups);
  while (static_cast<int64_t>(means.size()) < resamples) {
    std::fill(sum.begin(), sum.end(), 0.0);
    std::fill(count.begin(), count.end(), 0.0);
    for (size_t i = 0; i < data.clusters.size(); ++i) {
      const Sums& drawn = data.clusters[static_cast<size_t>(random.integer(0, last))];
      for (size_t g = 0; g < data.groups; ++g) {
        sum[g] += drawn.sum[g];
        count[g] += drawn.count[g];
      }
    }
    if (std::find(count.begin(), count.end(), 0.0) != count.end()) continue;
    double total = 0;
    for (size_t g = 0; g < data.groups; ++g) total += sum[g] / count[g];
    means.push_back(total / as_double(data.groups));
  }
  return {quantile(means, 0.025), quantile(means, 0.975)};
}

double sign_flip_test(const std::vector<Observation>& differences, int64_t resamples,
                      uint64_t seed) {
  if (differences.empty()) return 1;
  const Clusters data = gather(differences);
  // What a cluster adds to the statistic; groups keep their sizes whatever the signs.
  std::vector<double> sizes(data.groups, 0.0), weight;
  for (const Sums& c : data.clusters) {
    for (size_t g = 0; g < data.groups; ++g) sizes[g] += c.count[g];
  }
  for (const Sums& c : data.clusters) {
    double w = 0;
    for (size_t g = 0; g < data.groups; ++g) w += c.sum[g] / sizes[g];
    if (w != 0) weight.push_back(w);
  }
  const double observed = std::abs(std::accumulate(weight.begin(), weight.end(), 0.0));
  const double threshold = observed - 1e-12 * std::max(1.0, observed);
  const size_t n = weight.size();
  if (n == 0) return 1;
  int64_t reached = 0;
  if (n < 62 && (int64_t{1} << n) <= resamples) {
    const uint64_t patterns = uint64_t{1} << n;
    for (uint64_t pattern = 0; pattern < patterns; ++pattern) {
      double total = 0;
      for (size_t i = 0; i < n; ++i) total += (pattern >> i & 1) ? -weight[i] : weight[i];
      if (std::abs(total) >= threshold) ++reached;
    }
    return static_cast<double>(reached) / static_cast<double>(patterns);
  }
  RandomStream random(seed, "eval/sign_flips");
  for (int64_t r = 0; r < resamples; ++r) {
    double total = 0;
    uint64_t bits = 0;
    for (size_t i = 0; i < n; ++i) {
      if (i % 64 == 0) bits = random.next();
      total += (bits >> (i % 64) & 1) ? -weight[i] : weight[i];
    }
    if (std::abs(total) >= threshold) ++reached;
  }
  return static_cast<double>(1 + reached) / static_cast<double>(1 + resamples);
}

WinTieLoss win_tie_loss(const std::vector<double>& differences, double tolerance) {
  WinTieLoss counts;
  for (const double d : differences) {
    ++(d > tolerance ? counts.wins : d < -tolerance ? counts.losses : counts.ties);
  }
  return counts;
}

double sign_test(const WinTieLoss& counts) {
  const int64_t n = counts.wins + counts.losses, fewer = std::min(counts.wins, counts.losses);
  double tail = 0;
  for (int64_t k = 0; k <= fewer; ++k) {
    tail += std::exp(log_choose(n, k) - static_cast<double>(n) * std::log(2.0));
  }
  return std::min(1.0, 2 * tail);
}

double weighted_kappa(const std::vector<double>& x, const std::vector<double>& y) {
  check_pairs(x, y, "weighted kappa");
  if (x.empty()) return std::numeric_limits<double>::quiet_NaN();
  const double mx = mean(x), my = mean(y), n = as_double(x.size());
  double apart = 0, vx = 0, vy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    apart += (x[i] - y[i]) * (x[i] - y[i]);
    vx += (x[i] - mx) * (x[i] - mx);
    vy += (y[i] - my) * (y[i] - my);
  }
  // 1/n · Σ_i Σ_j (x_i - y_j)² = Σ (x - mx)² + Σ (y - my)² + n (mx - my)².
  const double by_chance = vx + vy + n * (mx - my) * (mx - my);
  return by_chance == 0 ? 1 : 1 - apart / by_chance;
}

double pearson(const std::vector<double>& x, const std::vector<double>& y) {
  check_pairs(x, y, "correlation");
  const double mx = mean(x), my = mean(y);
  double xy = 0, xx = 0, yy = 0;
  for (size_t i = 0; i < x.size(); ++i) {
    xy += (x[i] - mx) * (y[i] - my);
    xx += (x[i] - mx) * (x[i] - mx);
    yy += (y[i] - my) * (y[i] - my);
  }
  if (xx == 0 || yy == 0) return std::numeric_limits<double>::quiet_NaN();
  return xy / std::sqrt(xx * yy);
}

std::vector<double> ranks(const std::vector<double>& values) {
  std::vector<size_t> order(values.size());
  std::iota(order.begin(), order.end(), size_t{0});
  std::sort(order.begin(), order.end(), [&](size_t a, size_t b) { return values[a] < values[b]; });
  std::vector<double> out(values.size());
  for (size_t begin = 0; begin < order.size();) {
    size_t end = begin + 1;
    while (end < order.size() && values[order[end]] == values[order[begin]]) ++end;
    const double shared = (as_double(begin + 1) + as_double(end)) / 2;
    for (size_t i = begin; i < end; ++i) out[order[i]] = shared;
    begin = end;
  }
  return out;
}

double spearman(const std::vector<double>& x, const std::vector<double>& y) {
  check_pairs(x, y, "correlation");
  return pearson(ranks(x), ranks(y));
}

RepeatNoise repeat_noise(const std::vector<std::vector<double>>& ratings_by_item) {
  RepeatNoise out;
  double variance = 0, range = 0;
  for (const auto& ratings : ratings_by_item) {
    if (ratings.size() < 2) continue;
    ++out.items;
    variance += sample_variance(ratings);
    const auto [low, high] = std::minmax_element(ratings.begin(), ratings.end());
    range += *high - *low;
    if (*high > *low) ++out.changed;
  }
  if (out.items == 0) return out;
  out.deviation = std::sqrt(variance / static_cast<double>(out.items));
  out.range = range / static_cast<double>(out.items);
  return out;
}

}  // namespace mose::eval
