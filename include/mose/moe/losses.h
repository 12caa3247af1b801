// Router losses, each a scalar that carries gradient.
#pragma once

#include <torch/types.h>

#include "mose/moe/layer.h"
#include "mose/moe/routing.h"

namespace mose::moe {

struct RouterLosses {
  torch::Tensor balance;  // Switch: E * sum_e (share of choices of e) * (mean probability of e); 1 when even.
                          // deepspeed095: of the first choices, before drops
  torch::Tensor z;        // mean of logsumexp(logits)^2 (ST-MoE); hierarchical_skill: of the stage logits
  torch::Tensor stage;    // weighted mean cross-entropy against stage_TG; 0 without labels, or where
                          // the router has no stage logits (topk, skill)
  torch::Tensor skill;    // the same against skill_TS (hierarchical_skill), or against the expert
                          // distribution labels_TS * A over the experts that serve skills (skill);
                          // 0 for topk and without labels
  torch::Tensor stage_weight, skill_weight;  // the sums of weights behind the two means, without gradient
};

// Only the levels that `which` names are computed; the others are 0.
RouterLosses router_losses(const Routing& routing, const RouterLabels& labels, const SkillMap& map,
                           const Supervision& which = {});

}  // namespace mose::moe
