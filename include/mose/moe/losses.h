// Router losses, each a scalar that carries gradient.
#pragma once

#include <torch/types.h>

#include "mose/moe/layer.h"
#include "mose/moe/routing.h"

namespace mose::moe {

struct RouterLosses {
  torch::Tensor balance;  // Switch: E * sum_e (share of choices of e) * (mean probability of e); 1 when even
  torch::Tensor z;        // mean of logsumexp(logits)^2 (ST-MoE)
  torch::Tensor stage;    // weighted mean cross-entropy against stage_TG; 0 without labels
  torch::Tensor skill;    // the same against skill_TS (hierarchical_skill), or against the expert
                          // distribution labels_TS * A (skill); 0 for topk and without labels
};

RouterLosses router_losses(const Routing& routing, const RouterLabels& labels, const SkillMap& map);

}  // namespace mose::moe
