// What a router decides, and the labels it is taught with.
#pragma once

#include <torch/types.h>

#include <optional>

namespace mose::moe {

// Soft labels of the rows; a row with weight 0 carries no router loss. All float32. Undefined tensors
// mean that there are no labels of that level.
struct RouterLabels {
  torch::Tensor stage_TG;        // rows sum to 1 where stage_weight_T > 0
  torch::Tensor stage_weight_T;  // 0, or the label's confidence (times the prompt's down-weight)
  torch::Tensor skill_TS;        // rows sum to 1 where skill_weight_T > 0
  torch::Tensor skill_weight_T;
};

// One layer's routing. Every tensor but experts_TK carries gradient in training.
struct Routing {
  torch::Tensor weights_TK;        // float32; rows sum to 1 unless normalise_top_k is off or a capacity drops choices
  torch::Tensor experts_TK;        // int64, by falling probability
  torch::Tensor probabilities_TE;  // float32, rows sum to 1
  torch::Tensor logits_TE;         // float32; log probabilities where the router has no expert logits
  std::optional<torch::Tensor> stage_logits_TG;  // hierarchical_skill only, before softmax
  std::optional<torch::Tensor> skill_logits_TS;  // log p(skill) = log p(stage) + log p(skill | stage)
  bool first_choice_balance = false;  // the balance loss counts first choices only (deepspeed095)
  bool experts_taught = false;  // skill: the expert logits are taught labels_TS * A
};

// Takes decisions away from the routers, for oracles and for looking inside.
struct RouteControl {
  torch::Tensor given_TE;  // float32: a row that sums to 1 stands in for the router's probabilities, a row of 0 leaves
                           // them; undefined = all are the router's
  int64_t removed = -1;    // an expert that no row goes to; -1 = none
};

// Chooses experts_TK and weights_TK anew from the controlled probabilities. The router's own probabilities and logits
// stay, so losses and statistics of them still see the router. No capacity is kept (deepspeed095). Error when the given
// rows do not fit, or no `top_k` experts are left.
void steer(Routing& routing, const RouteControl& control, bool normalise_top_k);

}  // namespace mose::moe
