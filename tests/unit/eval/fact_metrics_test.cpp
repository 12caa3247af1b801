#include "mose/eval/fact_metrics.h"

#include <gtest/gtest.h>

namespace mose::eval {
namespace {

TEST(FactCounts, PrecisionRecallAndF1) {
  const FactCounts c =
      count_facts({"cone@left", "bus@right", "weather:rain"}, {"cone@left", "bus@left"});
  EXPECT_EQ(c.right, 1);
  EXPECT_NEAR(c.precision(), 1.0 / 3, 1e-12);
  EXPECT_NEAR(c.recall(), 1.0 / 2, 1e-12);
  EXPECT_NEAR(c.f1(), 2.0 / 5, 1e-12);
}

TEST(FactCounts, NothingToSayAndNothingSaidIsRight) {
  const FactCounts none;
  EXPECT_EQ(none.precision(), 1);
  EXPECT_EQ(none.recall(), 1);
  EXPECT_EQ(none.f1(), 1);
  const FactCounts silent = count_facts({}, {"slow_down"}), talkative = count_facts({"stop"}, {});
  EXPECT_EQ(silent.f1(), 0);
  EXPECT_EQ(silent.precision(), 0);
  EXPECT_EQ(talkative.f1(), 0);
  EXPECT_EQ(talkative.recall(), 0);
}

TEST(FactScore, CountsAreSummedOverItemsBeforeDividing) {
  FactScore score;
  score.add({"slow_down", "stop"}, {"slow_down"});               // 1 right of 2 and 1
  score.add({"keep_lane"}, {"keep_lane", "slow_down", "stop"});  // 1 right of 1 and 3
  const Json json = score.to_json();
  EXPECT_EQ(json["count"], 2);
  EXPECT_NEAR(json["precision"], 2.0 / 3, 1e-12);
  EXPECT_NEAR(json["recall"], 2.0 / 4, 1e-12);
  EXPECT_NEAR(json["f1"], 4.0 / 7, 1e-12);
  const Json& slow = json["per_class"]["slow_down"];
  EXPECT_NEAR(slow["precision"], 1, 1e-12);
  EXPECT_NEAR(slow["recall"], 0.5, 1e-12);
  EXPECT_NEAR(json["per_class"]["stop"]["f1"], 0, 1e-12);
  EXPECT_FALSE(json.contains("parts"));
}

TEST(FactScore, PartsSeparateClassesFromPlacesAndWeather) {
  FactScore score;
  score.add({"cone@left", "bus@right", "weather:rain", "time:day"},
            {"cone@right", "bus@right", "dog@left", "weather:fog", "time:day"});
  const Json parts = score.to_json()["parts"];
  // Classes: cone and bus of {cone, bus} and {cone, bus, dog}.
  EXPECT_NEAR(parts["classes"]["f1"], 4.0 / 5, 1e-12);
  // Places of the classes both name: bus is right, cone is not; the dog is not asked for.
  EXPECT_NEAR(parts["places"]["f1"], 2.0 / 4, 1e-12);
  EXPECT_EQ(parts["weather"]["f1"], 0);
  EXPECT_EQ(parts["time"]["f1"], 1);
  EXPECT_FALSE(parts.contains("risks"));
}

TEST(FactScore, RisksBelongToTheirClass) {
  FactScore score;
  score.add({"cone:blockage", "bus:collision"}, {"cone:blockage", "dog:unpredictable"});
  const Json json = score.to_json();
  EXPECT_NEAR(json["per_class"]["cone"]["f1"], 1, 1e-12);
  EXPECT_NEAR(json["parts"]["classes"]["f1"], 0.5, 1e-12);
  EXPECT_NEAR(json["parts"]["risks"]["f1"], 1, 1e-12);
}

TEST(BootstrapF1, ContainsTheMeanAndNarrowsWithMoreItems) {
  std::vector<FactCounts> few, many;
  for (int i = 0; i < 400; ++i) {
    const FactCounts item{i % 2, 1, 1};
    if (i < 20) few.push_back(item);
    many.push_back(item);
  }
  const auto [low, high] = bootstrap_f1(many);
  EXPECT_LT(low, 0.5);
  EXPECT_GT(high, 0.5);
  // The standard error of a share of 0.5 over 400 items is 0.025.
  EXPECT_NEAR(high - low, 2 * 1.96 * 0.025, 0.02);
  const auto [few_low, few_high] = bootstrap_f1(few);
  EXPECT_GT(few_high - few_low, 2 * (high - low));
  EXPECT_EQ(bootstrap_f1(many), bootstrap_f1(many));
}

TEST(FactClass, IsThePartBeforeThePlaceOrRisk) {
  EXPECT_EQ(fact_class("traffic_cone@ego_lane"), "traffic_cone");
  EXPECT_EQ(fact_class("traffic_cone:blockage"), "traffic_cone");
  EXPECT_EQ(fact_class("weather:rain"), "weather");
  EXPECT_EQ(fact_class("slow_down"), "slow_down");
}

}  // namespace
}  // namespace mose::eval
