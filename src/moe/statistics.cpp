#include "mose/moe/statistics.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::moe {
namespace {

using torch::Tensor;

Tensor host(const Tensor& t) { return t.detach().to(torch::kCPU, torch::kFloat64); }

// Rows whose chosen class is among the row's heaviest labels.
Tensor right_rows(const Tensor& logits, const Tensor& labels) {
  const Tensor chosen = logits.argmax(1, /*keepdim=*/true);
  return labels.gather(1, chosen).squeeze(1) == labels.amax(1);
}

Json list(const Tensor& t) {
  Json out = Json::array();
  for (int64_t i = 0; i < t.numel(); ++i) out.push_back(t[i].item<double>());
  return out;
}

Json share(double right, double total) { return total > 0 ? Json(right / total) : Json(nullptr); }

}  // namespace

RoutingStatistics::RoutingStatistics(int64_t experts, SkillMap map) : experts_(experts), map_(std::move(map)) {
  map_.assignment_SE = host(map_.assignment_SE);
  const int64_t skills = map_.assignment_SE.size(0);
  load_E_ = torch::zeros({experts}, torch::kFloat64);
  skill_expert_SE_ = torch::zeros({skills, experts}, torch::kFloat64);
  skill_tokens_S_ = torch::zeros({skills}, torch::kFloat64);
}

void RoutingStatistics::add(const Routing& routing, const RouterLabels& labels) {
  const torch::NoGradGuard no_grad;
  const Tensor p_TE = host(routing.probabilities_TE);
  if (p_TE.size(1) != experts_) {
    throw Error(str("routing statistics: probabilities of ", p_TE.size(1), " experts: expected ", experts_));
  }
  const int64_t tokens = p_TE.size(0);
  if (tokens == 0) return;
  const Tensor experts_TK = routing.experts_TK.to(torch::kCPU);
  // Each token's choices, adding up to 1.
  const Tensor choice_TE =
      torch::zeros({tokens, experts_}, torch::kFloat64)
          .scatter_add_(1, experts_TK, torch::full(experts_TK.sizes(), 1.0 / static_cast<double>(experts_TK.size(1)), torch::kFloat64));
  tokens_ += static_cast<double>(tokens);
  load_E_ += choice_TE.sum(0);
  dropped_ += (routing.weights_TK == 0).sum().item<double>();
  entropy_ -= at::xlogy(p_TE, p_TE).sum().item<double>();

  Tensor labelled_T = torch::zeros({tokens}, torch::kBool);
  if (labels.stage_TG.defined()) {
    const Tensor has_T = host(labels.stage_weight_T) > 0;
    labelled_T = labelled_T | has_T;
    if (routing.stage_logits_TG) {
      stage_total_ += has_T.sum().item<double>();
      stage_right_ += (right_rows(host(*routing.stage_logits_TG), host(labels.stage_TG)) & has_T).sum().item<double>();
    }
  }
  if (labels.skill_TS.defined()) {
    const Tensor has_T = host(labels.skill_weight_T) > 0;
    labelled_T = labelled_T | has_T;
    const Tensor skill_TS = host(labels.skill_TS), counted_TS = skill_TS * has_T.unsqueeze(1);
    skill_tokens_S_ += counted_TS.sum(0);
    skill_expert_SE_ += at::mm(counted_TS.t(), choice_TE);
    const double total = has_T.sum().item<double>();
    if (routing.skill_logits_TS) {
      skill_total_ += total;
      skill_right_ += (right_rows(host(*routing.skill_logits_TS), skill_TS) & has_T).sum().item<double>();
    }
    // Is the top expert assigned to one of the row's heaviest skills?
    const Tensor heaviest_TS = (skill_TS == skill_TS.amax(1, true)).to(torch::kFloat64);
    const Tensor serves_TE = at::mm(heaviest_TS, map_.assignment_SE) > 0;
    const Tensor assigned_T = serves_TE.gather(1, experts_TK.narrow(1, 0, 1)).squeeze(1);
    assigned_total_ += total;
    assigned_right_ += (assigned_T & has_T).sum().item<double>();
  }
  labelled_ += labelled_T.sum().item<double>();
}

Tensor RoutingStatistics::sums() const {
  const Tensor numbers = torch::tensor({tokens_, labelled_, entropy_, dropped_, stage_right_, stage_total_, skill_right_, skill_total_,
                                        assigned_right_, assigned_total_}, torch::kFloat64);
  return at::cat({numbers, load_E_, skill_tokens_S_, skill_expert_SE_.flatten()});
}

void RoutingStatistics::set_sums(const Tensor& sums) {
  double* const numbers[] = {&tokens_, &labelled_, &entropy_, &dropped_, &stage_right_, &stage_total_, &skill_right_, &skill_total_,
                             &assigned_right_, &assigned_total_};
  int64_t at = 0;
  for (double* number : numbers) *number = sums[at++].item<double>();
  for (Tensor* part : {&load_E_, &skill_tokens_S_, &skill_expert_SE_}) {
    *part = sums.narrow(0, at, part->numel()).view(part->sizes()).clone();
    at += part->numel();
  }
}

Json RoutingStatistics::to_json() const {
  Json out;
  out["tokens"] = static_cast<int64_t>(tokens_);
  out["labelled_tokens"] = static_cast<int64_t>(labelled_);
  out["expert_load"] = list(tokens_ > 0 ? load_E_ / tokens_ : load_E_);
  // A skill without tokens has a row of zeros, which dividing by 1 keeps.
  const Tensor divisor_S = at::where(skill_tokens_S_ > 0, skill_tokens_S_, at::ones_like(skill_tokens_S_));
  const Tensor share_SE = skill_expert_SE_ / divisor_S.unsqueeze(1);
  Json rows = Json::array();
  for (int64_t s = 0; s < share_SE.size(0); ++s) rows.push_back(list(share_SE[s]));
  out["skill_expert"] = std::move(rows);
  out["skill_tokens"] = list(skill_tokens_S_);
  out["stage_accuracy"] = share(stage_right_, stage_total_);
  out["skill_accuracy"] = share(skill_right_, skill_total_);
  out["assigned_share"] = share(assigned_right_, assigned_total_);
  out["entropy"] = tokens_ > 0 ? entropy_ / tokens_ : 0.0;
  out["dropped"] = static_cast<int64_t>(dropped_);
  return out;
}

}  // namespace mose::moe
