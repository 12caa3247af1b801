#include "mose/eval/statistics.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>

#include "mose/core/error.h"

namespace mose::eval {
namespace {

using testing::ElementsAre;

std::vector<Observation> alone(const std::vector<double>& values) {
  std::vector<Observation> out;
  for (size_t i = 0; i < values.size(); ++i) out.push_back({values[i], 0, i});
  return out;
}

TEST(Quantile, IsLinearBetweenOrderStatistics) {
  // numpy.quantile([4, 1, 3, 2], [0, 0.25, 0.5, 0.9, 1])
  const std::vector<double> values = {4, 1, 3, 2};
  EXPECT_DOUBLE_EQ(quantile(values, 0), 1);
  EXPECT_DOUBLE_EQ(quantile(values, 0.25), 1.75);
  EXPECT_DOUBLE_EQ(quantile(values, 0.5), 2.5);
  EXPECT_DOUBLE_EQ(quantile(values, 0.9), 3.7);
  EXPECT_DOUBLE_EQ(quantile(values, 1), 4);
}

TEST(MeanOfGroups, AveragesMeansNotItems) {
  EXPECT_DOUBLE_EQ(mean_of_groups({{10, 0, 0}, {20, 0, 1}, {90, 7, 0}}), (15 + 90) / 2.0);
  EXPECT_DOUBLE_EQ(mean_of_groups({}), 0);
}

TEST(BootstrapInterval, OfACoinHasTheQuantilesOfTheBinomial) {
  // Means of draws from ten ones and ten zeros are B(20, 1/2) / 20. P(X <= 5) = 0.0207 and
  // P(X <= 6) = 0.0577, so its 2.5 % and 97.5 % quantiles are 6 and 14.
  std::vector<double> values(20, 0.0);
  std::fill(values.begin(), values.begin() + 10, 1.0);
  const Interval interval = bootstrap_interval(alone(values), 20000);
  EXPECT_DOUBLE_EQ(interval.low, 0.3);
  EXPECT_DOUBLE_EQ(interval.high, 0.7);
}

TEST(BootstrapInterval, IsSeededAndHoldsTheMean) {
  const auto items = alone({3.14, 1.59, 2.65, 3.58, 9.79, 3.23, 8.46, 2.64});
  const Interval a = bootstrap_interval(items), b = bootstrap_interval(items);
  EXPECT_EQ(a.low, b.low);
  EXPECT_EQ(a.high, b.high);
  EXPECT_NE(a.low, bootstrap_interval(items, kResamples, 1).low);
  EXPECT_LT(a.low, mean_of_groups(items));
  EXPECT_GT(a.high, mean_of_groups(items));
}

TEST(BootstrapInterval, ItemsOfOneClusterAreDrawnTogether) {
  // Twenty scenes of five equal items each are as certain as twenty items, not as a hundred.
  std::vector<Observation> clustered, scenes, items;
  for (size_t s = 0; s < 20; ++s) {
    const double value = s % 2 == 0 ? 100 : 0;
    scenes.push_back({value, 0, s});
    for (size_t k = 0; k < 5; ++k) {
      clustered.push_back({value, 0, s});
      items.push_back({value, 0, 5 * s + k});
    }
  }
  const auto width = [](const Interval& i) { return i.high - i.low; };
  const double by_scene = width(bootstrap_interval(clustered));
  EXPECT_DOUBLE_EQ(by_scene, width(bootstrap_interval(scenes)));
  EXPECT_GT(by_scene, 1.8 * width(bootstrap_interval(items)));
}

TEST(BootstrapInterval, ADrawThatLeavesAGroupEmptyIsDrawnAgain) {
  const Interval interval = bootstrap_interval({{10, 0, 0}, {10, 0, 1}, {50, 1, 2}}, 200);
  EXPECT_DOUBLE_EQ(interval.low, 30);
  EXPECT_DOUBLE_EQ(interval.high, 30);
  EXPECT_EQ(bootstrap_interval({}).high, 0);
}

TEST(SignFlipTest, TriesEveryPatternOfAFewItems) {
  // Of the 8 patterns of ±1 ±2 ±3 only all-plus and all-minus reach 6.
  EXPECT_DOUBLE_EQ(sign_flip_test(alone({1, 2, 3})), 2.0 / 8);
  // |1 + 2 - 3| = 0 is reached by all.
  EXPECT_DOUBLE_EQ(sign_flip_test(alone({1, 2, -3})), 1);
  // Clusters flip as one: two clusters, ± 3 ± 3.
  EXPECT_DOUBLE_EQ(sign_flip_test({{1, 0, 0}, {2, 0, 0}, {3, 0, 1}}), 2.0 / 4);
  EXPECT_DOUBLE_EQ(sign_flip_test(alone({0, 0})), 1);
  EXPECT_DOUBLE_EQ(sign_flip_test({}), 1);
}

TEST(SignFlipTest, RandomPatternsComeNearTheExactShare) {
  const auto items = alone({1, -2, 3, 1, 4, -1, 2, 2, -3, 1, 2, 5});  // 4096 patterns
  const double exact = sign_flip_test(items, 5000), random = sign_flip_test(items, 4000);
  EXPECT_NEAR(random, exact, 3 * std::sqrt(exact * (1 - exact) / 4000));
  EXPECT_NE(random, exact);
}

TEST(SignTest, ExactBinomialTailWithoutTies) {
  const WinTieLoss counts = win_tie_loss({5, 1, 0, -2, 1e-12, 3, 4});
  EXPECT_EQ(counts.wins, 4);
  EXPECT_EQ(counts.ties, 2);
  EXPECT_EQ(counts.losses, 1);
  // 2 · (1 + 5) / 32
  EXPECT_NEAR(sign_test(counts), 0.375, 1e-12);
  EXPECT_NEAR(sign_test({8, 0, 1}), 2.0 * 10 / 512, 1e-12);
  EXPECT_EQ(sign_test({3, 0, 3}), 1);
  EXPECT_EQ(sign_test({0, 9, 0}), 1);
}

TEST(WeightedKappa, EqualsTheTableOfCategories) {
  const std::vector<double> x = {1, 2, 3, 4, 5, 5, 2, 1, 4, 3}, y = {1, 3, 3, 5, 4, 5, 1, 1, 2, 4};
  // Cohen (1968) from the contingency table of categories 1 to 5.
  std::array<std::array<double, 6>, 6> table{};
  std::array<double, 6> rows{}, columns{};
  for (size_t i = 0; i < x.size(); ++i) {
    ++table[size_t(x[i])][size_t(y[i])];
    ++rows[size_t(x[i])];
    ++columns[size_t(y[i])];
  }
  double observed = 0, expected = 0;
  for (size_t a = 1; a <= 5; ++a) {
    for (size_t b = 1; b <= 5; ++b) {
      const double weight = (double(a) - double(b)) * (double(a) - double(b)) / 16;
      observed += weight * table[a][b];
      expected += weight * rows[a] * columns[b] / 10;
    }
  }
  EXPECT_NEAR(weighted_kappa(x, y), 1 - observed / expected, 1e-12);
  EXPECT_DOUBLE_EQ(weighted_kappa(x, x), 1);
  EXPECT_DOUBLE_EQ(weighted_kappa({2, 2}, {2, 2}), 1);
  // Ratings that never meet: x̄ = 1, ȳ = 3, no spread, so 1 - 8 / 8.
  EXPECT_DOUBLE_EQ(weighted_kappa({1, 1}, {3, 3}), 0);
  EXPECT_THROW(weighted_kappa({1}, {1, 2}), Error);
}

TEST(Correlation, HandComputedValuesAndTiedRanks) {
  // Deviations (-1, 0, 1) and (-1, 1, 0): 1 / sqrt(2 · 2).
  EXPECT_NEAR(pearson({1, 2, 3}, {1, 3, 2}), 0.5, 1e-12);
  EXPECT_NEAR(pearson({1, 2, 3}, {-2, -4, -6}), -1, 1e-12);
  EXPECT_TRUE(std::isnan(pearson({1, 1, 1}, {1, 2, 3})));
  EXPECT_THAT(ranks({30, 10, 20, 20}), ElementsAre(4, 1, 2.5, 2.5));
  EXPECT_NEAR(spearman({1, 2, 3, 4}, {1, 8, 27, 64}), 1, 1e-12);
  // Ranks (1, 2.5, 2.5, 4) and (1, 2, 3, 4): 4.5 / sqrt(4.5 · 5).
  EXPECT_NEAR(spearman({1, 2, 2, 3}, {1, 2, 3, 4}), 4.5 / std::sqrt(22.5), 1e-12);
}

TEST(RepeatNoise, PoolsTheVarianceWithinItems) {
  // Variances 2 and 0 over the items that were rated twice or more; the single rating says nothing.
  const RepeatNoise noise = repeat_noise({{70, 72}, {50, 50, 50}, {90}});
  EXPECT_EQ(noise.items, 2);
  EXPECT_EQ(noise.changed, 1);
  EXPECT_DOUBLE_EQ(noise.deviation, 1);
  EXPECT_DOUBLE_EQ(noise.range, 1);
  EXPECT_EQ(repeat_noise({{1}}).items, 0);
}

}  // namespace
}  // namespace mose::eval
