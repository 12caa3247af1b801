#include "mose/moe/statistics.h"

#include <gtest/gtest.h>

#include "moe_test_util.h"
#include "mose/core/error.h"

namespace mose::moe {
namespace {

using testing::config_of;
using testing::make_taxonomy;
using testing::Matrix;
using testing::to_matrix;
using torch::Tensor;

SkillMap map_of(const Config& config) { return make_skill_map(config, make_taxonomy({0, 0, 1, 1, 2}, 3)); }

RouterLabels random_labels(int64_t tokens) {
  RouterLabels l;
  // Ties between labels included.
  auto soft = [&](int64_t classes) {
    const Tensor counts = torch::randint(0, 3, {tokens, classes}).to(torch::kFloat32) + 1e-3;
    return counts / counts.sum(1, true);
  };
  l.stage_TG = soft(3);
  l.skill_TS = soft(5);
  l.stage_weight_T = (torch::rand({tokens}) > 0.3).to(torch::kFloat32);
  l.skill_weight_T = (torch::rand({tokens}) > 0.5).to(torch::kFloat32) * 0.5;
  return l;
}

size_t argmax(const std::vector<double>& v) { return static_cast<size_t>(std::max_element(v.begin(), v.end()) - v.begin()); }
double maximum(const std::vector<double>& v) { return *std::max_element(v.begin(), v.end()); }

TEST(RoutingStatistics, EqualALoopOverTokens) {
  torch::manual_seed(1);
  const Config config = config_of("hierarchical_skill", 4);
  const SkillMap map = map_of(config);
  auto router = make_router(config, 8, map);
  RoutingStatistics statistics(4, map);
  double tokens = 0, labelled = 0, entropy = 0, stage_right = 0, stage_total = 0, skill_right = 0, skill_total = 0, assigned = 0;
  std::vector<double> load(4, 0), skill_tokens(5, 0);
  Matrix skill_expert(5, std::vector<double>(4, 0));
  const Matrix a = to_matrix(map.assignment_SE);
  for (const int64_t size : {17, 1, 40}) {
    const Routing r = router->forward(torch::randn({size, 8}) * 3);
    const RouterLabels labels = random_labels(size);
    statistics.add(r, labels);
    const Matrix p = to_matrix(r.probabilities_TE), stage = to_matrix(*r.stage_logits_TG), skill = to_matrix(*r.skill_logits_TS);
    const Matrix stage_label = to_matrix(labels.stage_TG), skill_label = to_matrix(labels.skill_TS);
    for (size_t t = 0; t < static_cast<size_t>(size); ++t) {
      const int64_t row = static_cast<int64_t>(t);
      const bool has_stage = labels.stage_weight_T[row].item<double>() > 0, has_skill = labels.skill_weight_T[row].item<double>() > 0;
      tokens += 1;
      labelled += has_stage || has_skill;
      for (const double v : p[t]) entropy -= v * std::log(v);
      if (has_stage) {
        stage_total += 1;
        stage_right += stage_label[t][argmax(stage[t])] == maximum(stage_label[t]);
      }
      if (has_skill) {
        skill_total += 1;
        skill_right += skill_label[t][argmax(skill[t])] == maximum(skill_label[t]);
        bool served = false;
        for (size_t s = 0; s < 5; ++s) {
          skill_tokens[s] += skill_label[t][s];
          served = served || (skill_label[t][s] == maximum(skill_label[t]) && a[s][static_cast<size_t>(r.experts_TK[row][0].item<int64_t>())] > 0);
        }
        assigned += served;
      }
      for (int64_t k = 0; k < 2; ++k) {
        const size_t e = static_cast<size_t>(r.experts_TK[row][k].item<int64_t>());
        load[e] += 0.5;
        for (size_t s = 0; s < 5 && has_skill; ++s) skill_expert[s][e] += 0.5 * skill_label[t][s];
      }
    }
  }
  const Json json = statistics.to_json();
  EXPECT_EQ(json["tokens"], tokens);
  EXPECT_EQ(json["labelled_tokens"], labelled);
  EXPECT_NEAR(json["entropy"].get<double>(), entropy / tokens, 1e-9);
  EXPECT_NEAR(json["stage_accuracy"].get<double>(), stage_right / stage_total, 1e-12);
  EXPECT_NEAR(json["skill_accuracy"].get<double>(), skill_right / skill_total, 1e-12);
  EXPECT_NEAR(json["assigned_share"].get<double>(), assigned / skill_total, 1e-12);
  for (size_t e = 0; e < 4; ++e) EXPECT_NEAR(json["expert_load"][e].get<double>(), load[e] / tokens, 1e-12);
  for (size_t s = 0; s < 5; ++s) {
    EXPECT_NEAR(json["skill_tokens"][s].get<double>(), skill_tokens[s], 1e-9);
    for (size_t e = 0; e < 4; ++e) {
      EXPECT_NEAR(json["skill_expert"][s][e].get<double>(), skill_expert[s][e] / skill_tokens[s], 1e-9);
    }
  }
}

TEST(RoutingStatistics, WhatWasNotSeenIsNullOrZero) {
  const Config config = config_of("topk", 4);
  const SkillMap map = map_of(config);
  RoutingStatistics statistics(4, map);
  EXPECT_EQ(statistics.to_json()["tokens"], 0);
  EXPECT_EQ(statistics.to_json()["expert_load"], (Json{0.0, 0.0, 0.0, 0.0}));
  statistics.add(make_router(config, 8, map)->forward(torch::randn({10, 8})), {});
  const Json json = statistics.to_json();
  EXPECT_EQ(json["tokens"], 10);
  EXPECT_EQ(json["labelled_tokens"], 0);
  EXPECT_TRUE(json["stage_accuracy"].is_null());
  EXPECT_TRUE(json["skill_accuracy"].is_null());
  EXPECT_TRUE(json["assigned_share"].is_null());
  EXPECT_EQ(json["skill_expert"][0], (Json{0.0, 0.0, 0.0, 0.0}));
  EXPECT_THROW(RoutingStatistics(3, map).add(make_router(config, 8, map)->forward(torch::randn({1, 8})), {}), Error);
}

}  // namespace
}  // namespace mose::moe
