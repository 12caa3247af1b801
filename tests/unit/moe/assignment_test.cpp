#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <numeric>

#include "moe_test_util.h"
#include "mose/core/error.h"
#include "mose/core/random.h"
#include "support/helpers.h"

namespace mose::moe {
namespace {

using testing::make_taxonomy;
using testing::to_matrix;
using ::testing::HasSubstr;

Config config_of(const std::string& assignment, int64_t experts, int64_t shared = 0) {
  Config config;
  config.assignment = assignment;
  config.experts = experts;
  config.top_k = 1;
  config.shared_experts = shared;
  return config;
}

std::string usage_error(const Config& config, const skills::Taxonomy& taxonomy, const std::vector<double>& mass = {}) {
  return message_of<UsageError>([&] { make_assignment(config, taxonomy, mass); });
}

// Token mass that lands on each expert.
std::vector<double> load(const torch::Tensor& a, const std::vector<double>& mass) {
  const auto m = to_matrix(a);
  std::vector<double> out(m[0].size(), 0.0);
  for (size_t s = 0; s < m.size(); ++s) {
    for (size_t e = 0; e < out.size(); ++e) out[e] += mass[s] * m[s][e];
  }
  return out;
}

TEST(Assignment, RowsSumToOneAndSharedExpertsServeNoSkill) {
  const auto taxonomy = make_taxonomy({0, 0, 0, 1, 1, 2}, 3);
  for (const std::string name : {"by_stage", "auto", "identity"}) {
    for (const int64_t shared : {0, 1, 2}) {
      for (const int64_t experts : {3, 4, 6, 9}) {
        if (name == "identity" && experts != 6) continue;
        SCOPED_TRACE(name + " " + std::to_string(experts) + " + " + std::to_string(shared));
        const auto a = make_assignment(config_of(name, experts + shared, shared), taxonomy, {});
        EXPECT_EQ(a.scalar_type(), torch::kFloat32);
        EXPECT_TRUE(torch::allclose(a.sum(1), torch::ones({6})));
        EXPECT_TRUE((a.narrow(1, 0, experts).sum(0) > 0).all().item<bool>());
        EXPECT_EQ(a.narrow(1, experts, shared).abs().sum().item<double>(), 0);
      }
    }
  }
}

TEST(Assignment, IdentityIsTheIdentity) {
  const auto taxonomy = make_taxonomy({0, 1, 2}, 3);
  EXPECT_TRUE(torch::equal(make_assignment(config_of("identity", 3), taxonomy, {}), torch::eye(3)));
  EXPECT_THAT(usage_error(config_of("identity", 4), taxonomy), HasSubstr("experts - shared_experts = 4, skills = 3"));
}

TEST(Assignment, ByStageKeepsStagesApart) {
  const std::vector<int64_t> stage{0, 2, 0, 1, 1, 2, 0, 0};  // not in order of stages
  const auto taxonomy = make_taxonomy(stage, 3);
  const auto a = to_matrix(make_assignment(config_of("by_stage", 5), taxonomy, {4, 1, 4, 1, 1, 1, 4, 4}));
  std::vector<int64_t> owner(5, -1);
  for (size_t s = 0; s < a.size(); ++s) {
    for (size_t e = 0; e < 5; ++e) {
      if (a[s][e] == 0) continue;
      EXPECT_TRUE(owner[e] == -1 || owner[e] == stage[s]);
      owner[e] = stage[s];
    }
  }
  EXPECT_EQ(owner, (std::vector<int64_t>{0, 0, 0, 1, 2}));  // most experts where most mass is
  EXPECT_THAT(usage_error(config_of("by_stage", 2), taxonomy), HasSubstr("each of 3 stages"));
}

TEST(Assignment, AutoIsGreedyByMass) {
  const auto taxonomy = make_taxonomy({0, 0, 0, 0}, 1);
  // 8 -> e0, 7 -> e1, 6 -> e1? no: e1 has 7 and e0 has 8, so 6 -> e1 (13), 5 -> e0 (13).
  const auto a = to_matrix(make_assignment(config_of("auto", 2), taxonomy, {5, 8, 6, 7}));
  EXPECT_EQ(a, (testing::Matrix{{1, 0}, {1, 0}, {0, 1}, {0, 1}}));
}

TEST(Assignment, AutoPrefersTheStageWhenLoadsTie) {
  const auto taxonomy = make_taxonomy({0, 1, 1, 0}, 2);
  const auto a = to_matrix(make_assignment(config_of("auto", 2), taxonomy, {1, 1, 1, 1}));
  EXPECT_EQ(a, (testing::Matrix{{1, 0}, {0, 1}, {0, 1}, {1, 0}}));
}

// Greedy scheduling, heaviest first, is within 4/3 of the best largest load (Graham 1969), and the best
// is at least the mean and the heaviest skill.
TEST(Assignment, AutoBalancesMass) {
  RandomStream random(3, "assignment");
  for (int round = 0; round < 50; ++round) {
    const size_t skills = static_cast<size_t>(random.integer(8, 30));
    const int64_t experts = random.integer(2, 8);
    std::vector<double> mass;
    for (size_t s = 0; s < skills; ++s) mass.push_back(std::exp(2 * random.normal()));
    const auto taxonomy = make_taxonomy(std::vector<int64_t>(skills, 0), 1);
    const auto loads = load(make_assignment(config_of("auto", experts), taxonomy, mass), mass);
    const double mean = std::accumulate(mass.begin(), mass.end(), 0.0) / static_cast<double>(experts);
    // With fewer skills than experts a pair of the (experts + 1) heaviest must share one.
    std::vector<double> sorted = mass;
    std::sort(sorted.rbegin(), sorted.rend());
    const size_t m = static_cast<size_t>(experts);
    double best = std::max(mean, sorted[0]);
    if (skills > m) best = std::max(best, sorted[m - 1] + sorted[m]);
    EXPECT_LE(*std::max_element(loads.begin(), loads.end()), best * 4 / 3 + 1e-3);
  }
}

TEST(Assignment, SkillsWithoutMassSpread) {
  const auto taxonomy = make_taxonomy({0, 0, 0, 0, 0}, 1);
  const auto a = make_assignment(config_of("auto", 3), taxonomy, {100, 0, 0, 0, 0});
  EXPECT_TRUE(torch::equal(a.sum(0), torch::tensor({1.0f, 2.0f, 2.0f})));
  // No mass at all counts as equal masses.
  EXPECT_TRUE(torch::equal(make_assignment(config_of("auto", 3), taxonomy, {0, 0, 0, 0, 0}),
                           make_assignment(config_of("auto", 3), taxonomy, {})));
}

TEST(Assignment, ExpertsLeftOverShareTheHeaviestSkills) {
  const auto taxonomy = make_taxonomy({0, 0}, 1);
  const auto a = to_matrix(make_assignment(config_of("auto", 4), taxonomy, {9, 1}));
  EXPECT_NEAR(a[0][0], 1.0 / 3, 1e-7);
  EXPECT_NEAR(a[0][2], 1.0 / 3, 1e-7);
  EXPECT_NEAR(a[0][3], 1.0 / 3, 1e-7);
  EXPECT_EQ(a[1][1], 1.0);
}

TEST(Assignment, TableIsTakenAsWritten) {
  const auto taxonomy = make_taxonomy({0, 1, 1}, 2);
  Config config = config_of("table", 4, 1);
  config.table = Json{{"s0", {0, 2}}, {"s2", {2}}, {"s1", {1}}};
  EXPECT_EQ(to_matrix(make_assignment(config, taxonomy, {})),
            (testing::Matrix{{0.5, 0, 0.5, 0}, {0, 1, 0, 0}, {0, 0, 1, 0}}));
}

TEST(Assignment, TableFaultsAreNamed) {
  const auto taxonomy = make_taxonomy({0, 1, 1}, 2);
  auto error = [&](const Json& table) {
    Config config = config_of("table", 3, 1);
    config.table = table;
    return usage_error(config, taxonomy);
  };
  EXPECT_THAT(error(Json{{"s0", {0}}, {"s1", {1}}}), HasSubstr("lacks the skill \"s2\""));
  EXPECT_THAT(error(Json{{"s0", {0}}, {"s1", {1}}, {"s2", {2}}}), HasSubstr("names expert 2"));
  EXPECT_THAT(error(Json{{"s0", {0}}, {"s1", {0}}, {"s2", {0}}}), HasSubstr("expert 1 no skill"));
  EXPECT_THAT(error(Json{{"s0", {0}}, {"s1", {1, 1}}, {"s2", {0}}}), HasSubstr("expert 1 twice"));
  EXPECT_THAT(error(Json{{"s0", {0}}, {"s1", 1}, {"s2", {0}}}), HasSubstr("table.s1"));
  EXPECT_THAT(error(Json{{"x9", {0}}}), HasSubstr("unknown skill \"x9\""));
  EXPECT_THAT(error(Json::array({1})), HasSubstr("expected an object"));
}

TEST(Assignment, MassesAreChecked) {
  const auto taxonomy = make_taxonomy({0, 0}, 1);
  EXPECT_THAT(usage_error(config_of("auto", 2), taxonomy, {1}), HasSubstr("2 skills, but 1"));
  EXPECT_THAT(usage_error(config_of("auto", 2), taxonomy, {1, -1}), HasSubstr("\"s1\" is -1"));
  EXPECT_THAT(usage_error(config_of("auto", 2), taxonomy, {1, NAN}), HasSubstr("\"s1\""));
  EXPECT_THAT(usage_error(config_of("best", 2), taxonomy), HasSubstr("\"best\""));
}

TEST(SkillMap, HoldsTheStageOfEachSkill) {
  const SkillMap map = make_skill_map(config_of("auto", 2), make_taxonomy({1, 0, 1}, 2));
  EXPECT_EQ(map.stages, 2);
  EXPECT_TRUE(torch::equal(map.skill_stage_S, torch::tensor({1, 0, 1}, torch::kInt64)));
}

}  // namespace
}  // namespace mose::moe
