#include "mose/moe/losses.h"

#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::moe {
namespace {

using torch::Tensor;

struct Mean {
  Tensor value, weight;
};

void check_labels(const char* what, const Tensor& labels, const Tensor& weight_T, const Tensor& logits,
                  int64_t classes) {
  if (labels.dim() != 2 || labels.size(0) != logits.size(0) || labels.size(1) != classes || !weight_T.defined() ||
      weight_T.dim() != 1 || weight_T.size(0) != logits.size(0)) {
    throw Error(mose::str("router losses: ", what, " labels have shape ", labels.sizes(), " and weights ",
                    weight_T.defined() ? mose::str(weight_T.sizes()) : "none", ": expected [", logits.size(0), ", ", classes,
                    "] and [", logits.size(0), "]"));
  }
}

// sum_t w_t CE_t / sum_t w_t with CE_t = -sum_c label_tc log p_tc; 0 when all weights are 0.
Mean cross_entropy(const Tensor& log_p, const Tensor& labels, const Tensor& weight_T) {
  const Tensor total = weight_T.sum();
  const Tensor ce_T = -(labels * log_p).sum(1);
  return {(weight_T * ce_T).sum() / total.clamp_min(std::numeric_limits<float>::min()), total};
}

Mean stage_loss(const Routing& routing, const RouterLabels& labels, int64_t stages) {
  check_labels("stage", labels.stage_TG, labels.stage_weight_T, *routing.stage_logits_TG, stages);
  return cross_entropy(routing.stage_logits_TG->log_softmax(1), labels.stage_TG, labels.stage_weight_T);
}

Mean skill_loss(const Routing& routing, const RouterLabels& labels, const SkillMap& map) {
  check_labels("skill", labels.skill_TS, labels.skill_weight_T, routing.logits_TE, map.assignment_SE.size(0));
  if (routing.skill_logits_TS) {
    return cross_entropy(*routing.skill_logits_TS, labels.skill_TS, labels.skill_weight_T);
  }
  // Over the experts that serve skills: shared ones are left to the language loss. Excluding a column
  // by -inf would give 0 * inf, so its logit is lowered far below the others instead.
  const Tensor assignment_SE = map.assignment_SE.to(routing.logits_TE.device());
  const Tensor shared_E = (assignment_SE.sum(0) == 0);
  const Tensor log_p = routing.logits_TE.masked_fill(shared_E, -1e30).log_softmax(1);
  const Tensor target_TE = at::mm(labels.skill_TS, assignment_SE);
  // Rows sum to 1 already where labels do; rows without a label stay zero.
  const Tensor norm_T1 = target_TE.sum(1, true).clamp_min(std::numeric_limits<float>::min());
  return cross_entropy(log_p, target_TE / norm_T1, labels.skill_weight_T);
}

}  // namespace

RouterLosses router_losses(const Routing& routing, const RouterLabels& labels, const SkillMap& map,
                           const Supervision& which) {
  const Tensor& p_TE = routing.probabilities_TE;
  const int64_t tokens = p_TE.size(0), experts = p_TE.size(1);
  const Tensor zero = at::zeros({}, p_TE.options());
  RouterLosses losses{zero, zero, zero, zero, zero, zero};
  if (tokens == 0) return losses;

  const Tensor chosen = routing.first_choice_balance ? routing.experts_TK.select(1, 0) : routing.experts_TK.flatten();
  const Tensor share_E = at::zeros({experts}, p_TE.options())
                             .scatter_add(0, chosen, at::ones({chosen.size(0)}, p_TE.options())) /
                         static_cast<double>(chosen.size(0));
  losses.balance = (share_E * p_TE.mean(0)).sum() * static_cast<double>(experts);
  const Tensor& logits = routing.stage_logits_TG ? *routing.stage_logits_TG : routing.logits_TE;
  losses.z = logits.logsumexp(1).square().mean();

  if (which.stage && routing.stage_logits_TG && labels.stage_TG.defined()) {
    const Mean mean = stage_loss(routing, labels, map.stages);
    losses.stage = mean.value;
    losses.stage_weight = mean.weight;
  }
  if (which.skill && (routing.skill_logits_TS || routing.experts_taught) && labels.skill_TS.defined()) {
    const Mean mean = skill_loss(routing, labels, map);
    losses.skill = mean.value;
    losses.skill_weight = mean.weight;
  }
  return losses;
}

}  // namespace mose::moe
