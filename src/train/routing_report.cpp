#include "mose/train/routing_report.h"

#include <torch/torch.h>

#include "mose/moe/statistics.h"

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

Json measure_routing(models::VisionLanguageModel& model, const std::vector<data::Batch>& batches) {
  const torch::NoGradGuard no_grad;
  const auto& moe = *model.config().language.moe;
  std::vector<moe::RoutingStatistics> statistics;
  std::vector<int64_t> layers;
  for (const auto& [layer, module] : model.moe_layers()) {
    layers.push_back(layer);
    statistics.emplace_back(moe.experts, model.skill_map());
  }
  for (const auto& batch : batches) {
    torch::Tensor images;
    if (batch.pixels_BCHW.defined()) images = model.encode_images(batch.pixels_BCHW, batch.layouts).rows_RD;
    const auto out = model.forward(batch.tokens_T, batch.plan, images);
    for (size_t i = 0; i < out.routings.size(); ++i) statistics[i].add(out.routings[i].routing, batch.labels);
  }
  Json result;
  result["layers"] = Json::array();
  for (size_t i = 0; i < statistics.size(); ++i) {
    Json layer = {{"layer", layers[i]}, {"experts", moe.experts}};
    layer.update(statistics[i].to_json());
    result["layers"].push_back(std::move(layer));
  }
  for (const char* key : {"stage_accuracy", "skill_accuracy", "assigned_share"}) {
    result[key] = mean_of(result["layers"], key);
  }
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
