// Routing statistics: who goes where, and how often the router is right.
#pragma once

#include <torch/types.h>

#include <vector>

#include "mose/core/json.h"
#include "mose/moe/layer.h"
#include "mose/moe/routing.h"

namespace mose::moe {

// Sums over batches for one layer; add() keeps everything on the host in float64.
class RoutingStatistics {
 public:
  RoutingStatistics(int64_t experts, SkillMap map);
  void add(const Routing& routing, const RouterLabels& labels);

  // Every sum in one float64 vector on the host, so that those of several processes can be added.
  torch::Tensor sums() const;
  void set_sums(const torch::Tensor& sums);

  // {"tokens", "labelled_tokens", "expert_load": [E] (shares of choices),
  //  "skill_expert": [S][E] (for tokens of each skill, the share of choices that go to e; a row of
  //  zeros when the skill has no tokens), "skill_tokens": [S] (soft labels count by their share),
  //  "stage_accuracy", "skill_accuracy" (null when the router has no such logits, or no token such
  //  labels), "assigned_share": share of skill-labelled tokens whose top expert is assigned to their
  //  skill (null without labels), "entropy": mean entropy of probabilities in nats, "dropped": choices
  //  without weight, which a capacity refused}
  // Where several labels of a token weigh the same, any of them counts as right.
  Json to_json() const;

 private:
  int64_t experts_;
  SkillMap map_;
  double tokens_ = 0, labelled_ = 0, entropy_ = 0, dropped_ = 0;
  torch::Tensor load_E_, skill_expert_SE_, skill_tokens_S_;
  double stage_right_ = 0, stage_total_ = 0, skill_right_ = 0, skill_total_ = 0;
  double assigned_right_ = 0, assigned_total_ = 0;
};

}  // namespace mose::moe
