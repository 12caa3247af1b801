// How sure a mean is, how two systems differ on the same items, and how far raters agree.
// All random draws are seeded: the same numbers give the same result.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

namespace mose::eval {

double mean(const std::vector<double>& values);
// Divided by n - 1; 0 for fewer than two values.
double sample_variance(const std::vector<double>& values);
// Linear between the order statistics, as numpy.quantile's default; `values` in any order, not
// empty.
double quantile(std::vector<double> values, double q);

// A value of one item. `group` numbers the means that are averaged (the tasks of Final; 0 for a
// plain mean), `cluster` the unit that is drawn: items of one picture are not independent.
struct Observation {
  double value = 0;
  size_t group = 0, cluster = 0;
};

// The mean over groups of each group's mean; groups without items do not count. 0 without items.
double mean_of_groups(const std::vector<Observation>& items);

struct Interval {
  double low = 0, high = 0;
};
inline constexpr int64_t kResamples = 2000;

// Percentile bootstrap (Efron, 1979): the 2.5 % and 97.5 % quantiles of mean_of_groups over draws
// of clusters with replacement. Over the items' differences it is the paired bootstrap of two
// systems. A draw that leaves a group without items is drawn again.
Interval bootstrap_interval(const std::vector<Observation>& items, int64_t resamples = kResamples,
                            uint64_t seed = 0);

// Paired randomization (Fisher's sign flips, a cluster at a time): the share of sign patterns whose
// |mean_of_groups| reaches the observed one, two-sided. Every pattern is tried when there are at
// most `resamples` of them; else (1 + reached) / (1 + resamples) over random ones.
double sign_flip_test(const std::vector<Observation>& differences,
                      int64_t resamples = kResamples * 5, uint64_t seed = 0);

struct WinTieLoss {
  int64_t wins = 0, ties = 0, losses = 0;
};
// Differences within `tolerance` of zero are ties.
WinTieLoss win_tie_loss(const std::vector<double>& differences, double tolerance = 1e-9);
// Two-sided exact sign test without the ties: min(1, 2 · P(X <= min(wins, losses))), X ~
// B(wins + losses, 1/2). 1 when nothing differs.
double sign_test(const WinTieLoss& counts);

// Cohen's kappa with quadratic weights over the values themselves, so that ratings between whole
// numbers need no bins: 1 - Σ_i (x_i - y_i)² / (1/n · Σ_i Σ_j (x_i - y_j)²). 1 when all values are
// one and the same. The same number as Lin's concordance correlation. Sizes must be equal.
double weighted_kappa(const std::vector<double>& x, const std::vector<double>& y);
// Pearson's product-moment correlation; NaN when a side does not vary.
double pearson(const std::vector<double>& x, const std::vector<double>& y);
// Pearson's correlation of ranks; equal values share the mean of their ranks.
double spearman(const std::vector<double>& x, const std::vector<double>& y);
// 1 for the smallest; equal values share the mean of their ranks.
std::vector<double> ranks(const std::vector<double>& values);

// What repeated rating of the same items shows of a rater's own noise.
struct RepeatNoise {
  int64_t items = 0;     // rated more than once
  int64_t changed = 0;   // of them, whose ratings were not all the same
  double deviation = 0;  // sqrt of the mean, over items, of the variance within an item
  double range = 0;      // mean over items of largest - smallest
};
RepeatNoise repeat_noise(const std::vector<std::vector<double>>& ratings_by_item);

}  // namespace mose::eval
