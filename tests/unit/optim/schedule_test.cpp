#include "mose/optim/schedule.h"

#include <gtest/gtest.h>

#include <cmath>

#include "mose/core/error.h"

namespace mose::optim {
namespace {

ScheduleConfig schedule(const std::string& kind, int64_t warmup_steps) {
  ScheduleConfig config;
  config.kind = kind;
  config.value = 2.0;
  config.warmup_steps = warmup_steps;
  config.final_ratio = 0.1;
  return config;
}

TEST(Schedule, WarmUpRisesLinearlyToTheValue) {
  const ScheduleConfig config = schedule("constant", 4);
  EXPECT_DOUBLE_EQ(schedule_value(config, 0, 100), 0.5);
  EXPECT_DOUBLE_EQ(schedule_value(config, 1, 100), 1.0);
  EXPECT_DOUBLE_EQ(schedule_value(config, 3, 100), 2.0);
  EXPECT_DOUBLE_EQ(schedule_value(config, 99, 100), 2.0);
}

TEST(Schedule, WarmUpMayStartAboveZeroOrAboveTheValue) {
  ScheduleConfig config = schedule("constant", 2);
  config.start_ratio = 0.5;
  EXPECT_DOUBLE_EQ(schedule_value(config, 0, 10), 1.5);
  config.start_ratio = 3;  // a loss weight that falls to its value
  EXPECT_DOUBLE_EQ(schedule_value(config, 0, 10), 4.0);
  EXPECT_DOUBLE_EQ(schedule_value(config, 1, 10), 2.0);
}

TEST(Schedule, WarmUpAsAFractionEqualsItsSteps) {
  ScheduleConfig fraction = schedule("cosine", 0);
  fraction.warmup_fraction = 0.05;
  for (int64_t step = 0; step < 200; ++step) {
    EXPECT_DOUBLE_EQ(schedule_value(fraction, step, 200),
                     schedule_value(schedule("cosine", 10), step, 200));
  }
}

TEST(Schedule, LinearAndCosineFallFromTheValueToTheFinalRatio) {
  for (const char* kind : {"linear", "cosine"}) {
    const ScheduleConfig config = schedule(kind, 10);
    EXPECT_DOUBLE_EQ(schedule_value(config, 10, 111), 2.0);
    EXPECT_NEAR(schedule_value(config, 60, 111), (2.0 + 0.2) / 2, 1e-12);  // half way
    EXPECT_NEAR(schedule_value(config, 110, 111), 0.2, 1e-12);             // the last step
    EXPECT_NEAR(schedule_value(config, 5000, 111), 0.2, 1e-12);
    for (int64_t step = 11; step < 111; ++step) {
      EXPECT_LT(schedule_value(config, step, 111), schedule_value(config, step - 1, 111));
    }
  }
  const double quarter = schedule_value(schedule("cosine", 10), 35, 111);
  EXPECT_NEAR(quarter, 0.2 + 1.8 * (1 + std::cos(M_PI / 4)) / 2, 1e-12);
  EXPECT_NEAR(schedule_value(schedule("linear", 10), 35, 111), 2.0 - 1.8 / 4, 1e-12);
}

TEST(Schedule, OneStepAndAWarmUpAsLongAsTheRunWork) {
  EXPECT_DOUBLE_EQ(schedule_value(schedule("cosine", 0), 0, 1), 2.0);
  EXPECT_DOUBLE_EQ(schedule_value(schedule("linear", 5), 4, 5), 2.0);
}

TEST(Schedule, UnknownKindIsAUsageError) {
  EXPECT_THROW(schedule_value(schedule("cosin", 0), 0, 10), UsageError);
}

}  // namespace
}  // namespace mose::optim
