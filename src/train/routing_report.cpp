#include "mose/train/routing_report.h"

#include <torch/torch.h>

#include "mose/train/image_features.h"

namespace mose::train {
namespace {

// Mean over layers of a value that some layers may lack.
Json mean_of(const Json& layers, const char* key) {
  double sum = 0;
  int64_t count = 0;
  for (const auto& layer : layers) {
    if (layer.at(key).is_number()) {
      sum += layer.at(key).get<double>();
      ++count;
    }
  }
  return count > 0 ? Json(sum / static_cast<double>(count)) : Json(nullptr);
}

}  // namespace

RoutingSums start_routing_sums(const models::VisionLanguageModel& model) {
  RoutingSums sums;
  for (size_t i = 0; i < model.moe_layers().size(); ++i) sums.emplace_back(model.config().language.moe->experts, model.skill_map());
  return sums;
}

void add_routings(RoutingSums& sums, const std::vector<language::LayerRouting>& routings, const moe::RouterLabels& labels) {
  for (size_t i = 0; i < routings.size(); ++i) sums[i].add(routings[i].routing, labels);
}

Json routing_to_json(const models::VisionLanguageModel& model, const RoutingSums& sums) {
  Json result;
  result["layers"] = Json::array();
  const auto layers = model.moe_layers();
  for (size_t i = 0; i < sums.size(); ++i) {
    Json layer = {{"layer", layers[i].first}, {"experts", model.config().language.moe->experts}};
    layer.update(sums[i].to_json());
    result["layers"].push_back(std::move(layer));
  }
  for (const char* key : {"stage_accuracy", "skill_accuracy", "assigned_share"}) {
    result[key] = mean_of(result["layers"], key);
  }
  return result;
}

Json measure_routing(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches) {
  const torch::NoGradGuard no_grad;
  RoutingSums sums = start_routing_sums(model);
  for (const auto& batch : batches) {
    add_routings(sums, model.forward(batch.tokens_T, batch.plan, image_features(model, batch).rows_RD).routings, batch.labels);
  }
  return routing_to_json(model, sums);
}

namespace {

struct SkillLoss {
  torch::Tensor rows_S, sum_S;
  std::vector<double> mean() const {
    const auto mean_S = (sum_S / rows_S.clamp_min(1e-12)).contiguous();
    return {mean_S.data_ptr<double>(), mean_S.data_ptr<double>() + mean_S.numel()};
  }
};

SkillLoss loss_by_skill(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches,
                        const std::vector<torch::Tensor>& images, int64_t removed) {
  const auto skills = model.skill_map().assignment_SE.size(0);
  SkillLoss out{torch::zeros({skills}, torch::kFloat64), torch::zeros({skills}, torch::kFloat64)};
  const moe::RouteControl control{{}, removed};
  language::ForwardOptions options;
  if (removed >= 0) options.control = &control;
  for (size_t i = 0; i < batches.size(); ++i) {
    const auto& batch = batches[i];
    const auto rows = ((batch.targets_T >= 0) & (batch.labels.skill_weight_T > 0)).nonzero().squeeze(1);
    if (rows.numel() == 0) continue;
    options.rows_R = rows;
    const auto hidden_RD = model.forward(batch.tokens_T, batch.plan, images[i], options).hidden_TD;
    const auto logits_RV = model.logits(hidden_RD).to(torch::kFloat32);
    const auto losses_R = at::cross_entropy_loss(logits_RV, batch.targets_T.index_select(0, rows), {}, at::Reduction::None);
    const auto label_RS = batch.labels.skill_TS.index_select(0, rows).to(torch::kCPU, torch::kFloat64);
    out.rows_S += label_RS.sum(0);
    out.sum_S += at::mv(label_RS.t(), losses_R.to(torch::kCPU, torch::kFloat64));
  }
  return out;
}

}  // namespace

Json measure_removal(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches) {
  const torch::NoGradGuard no_grad;
  const auto& moe = *model.config().language.moe;
  std::vector<torch::Tensor> images;  // as the decoder takes them, encoded once
  for (const auto& batch : batches) {
    images.push_back(image_features(model, batch).rows_RD);
  }
  const auto whole = loss_by_skill(model, batches, images, -1);
  const auto* rows = whole.rows_S.data_ptr<double>();
  Json result = {{"rows", std::vector<double>(rows, rows + whole.rows_S.numel())}, {"loss", whole.mean()}, {"without", nullptr}};
  if (moe.top_k >= moe.experts) return result;
  result["without"] = Json::array();
  for (int64_t e = 0; e < moe.experts; ++e) result["without"].push_back(loss_by_skill(model, batches, images, e).mean());
  return result;
}

Json routing_header(const models::VisionLanguageModel& model, const skills::Taxonomy& taxonomy) {
  Json j;
  j["stages"] = Json::array();
  for (const auto& stage : taxonomy.stages()) j["stages"].push_back(stage.name);
  j["skills"] = Json::array();
  j["skill_stage"] = Json::array();
  for (const auto& skill : taxonomy.skills()) {
    j["skills"].push_back(skill.name);
    j["skill_stage"].push_back(skill.stage);
  }
  j["assignment"] = Json::array();
  const auto a = model.skill_map().assignment_SE.to(torch::kCPU).contiguous();
  for (int64_t s = 0; s < a.size(0); ++s) {
    const auto* row = a[s].data_ptr<float>();
    j["assignment"].push_back(std::vector<float>(row, row + a.size(1)));
  }
  j["before"] = nullptr;
  j["after"] = nullptr;
  return j;
}

}  // namespace mose::train
