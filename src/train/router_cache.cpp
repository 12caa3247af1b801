#include "mose/train/router_cache.h"

#include <torch/torch.h>

#include <map>

#include "mose/core/error.h"
#include "mose/train/image_features.h"

namespace mose::train {

using torch::Tensor;

RouterCache collect_router_inputs(models::VisionLanguageModel& model,
                                  const std::function<bool(data::Batch&)>& next, int64_t max_rows) {
  const torch::NoGradGuard no_grad;
  std::map<int64_t, std::vector<Tensor>> inputs;
  for (const auto& [layer, module] : model.moe_layers()) inputs[layer];
  std::vector<Tensor> stage, stage_weight, skill, skill_weight;
  int64_t rows = 0;
  data::Batch batch;
  while (rows < max_rows && next(batch)) {
    auto labelled = ((batch.labels.stage_weight_T > 0) | (batch.labels.skill_weight_T > 0)).nonzero().squeeze(1);
    labelled = labelled.narrow(0, 0, std::min(labelled.numel(), max_rows - rows));
    rows += labelled.numel();
    language::ForwardOptions options;
    options.on_ffn_input = [&](int64_t layer, const Tensor& x_TD) {
      const auto found = inputs.find(layer);
      if (found != inputs.end()) found->second.push_back(x_TD.index_select(0, labelled));
    };
    model.forward(batch.tokens_T, batch.plan, image_features(model, batch).rows_RD, options);
    stage.push_back(batch.labels.stage_TG.index_select(0, labelled));
    stage_weight.push_back(batch.labels.stage_weight_T.index_select(0, labelled));
    skill.push_back(batch.labels.skill_TS.index_select(0, labelled));
    skill_weight.push_back(batch.labels.skill_weight_T.index_select(0, labelled));
  }
  if (rows == 0) throw DataError("router pretraining: no token of the training data carries a skill label");
  RouterCache cache;
  for (auto& [layer, parts] : inputs) {
    cache.inputs_ND.push_back(torch::cat(parts, 0));
    parts.clear();
  }
  cache.labels = {torch::cat(stage, 0), torch::cat(stage_weight, 0), torch::cat(skill, 0), torch::cat(skill_weight, 0)};
  return cache;
}

CachedLoss cached_router_loss(const models::VisionLanguageModel& model, const RouterCache& cache,
                              const Tensor& rows, const StepWeights& weights) {
  const moe::RouterLabels labels = {
      cache.labels.stage_TG.index_select(0, rows), cache.labels.stage_weight_T.index_select(0, rows),
      cache.labels.skill_TS.index_select(0, rows), cache.labels.skill_weight_T.index_select(0, rows)};
  CachedLoss out;
  auto& r = out.report;
  r.skill = r.stage = r.balance = r.z = torch::zeros({}, cache.inputs_ND.front().options());
  std::vector<moe::Routing> routings;
  for (const auto& [layer, module] : model.moe_layers()) {
    routings.push_back(module->router().forward(cache.inputs_ND[routings.size()].index_select(0, rows)));
  }
  add_router_losses(model, routings, labels, r);
  out.loss = weights.skill * r.skill + weights.stage * r.stage + weights.balance * r.balance + weights.z * r.z;
  r.total = out.loss.detach();
  for (auto* part : {&r.skill, &r.stage, &r.balance, &r.z}) *part = part->detach();
  return out;
}

}  // namespace mose::train
