// The tower in a stage: whether it learns, and if not, whether its features come from data.feature_cache.
#include <torch/torch.h>

#include <algorithm>

#include "mose/core/log.h"
#include "mose/core/patterns.h"
#include "mose/io/safetensors.h"
#include "train/parallel.h"
#include "train/session.h"

namespace mose::train {
namespace {

bool tower_learns(models::VisionLanguageModel& model, const StageConfig& stage) {
  const auto of_tower = [](const std::string& name) { return name.starts_with("model.vision_tower."); };
  const auto patterns = trainable_patterns(stage);
  for (const auto& item : model.named_parameters()) {
    if (of_tower(item.key()) && chosen(item.key(), patterns)) return true;
  }
  if (!stage.lora) return false;
  const auto places = nn::lora_places(model, stage.lora->targets);
  return std::any_of(places.begin(), places.end(), [&](const nn::LoraPlace& place) { return of_tower(place.name); });
}

// All that a tower's features of given pixels follow from.
std::string tower_identity(const Session& session) {
  const auto& model = *session.bundle.model;
  io::TensorMap weights;
  for (const auto& item : model.tower()->named_parameters()) weights[item.key()] = item.value().detach();
  for (const auto& item : model.tower()->named_buffers()) weights[item.key()] = item.value();
  const auto autocast = session.compute().autocast;
  return Json{to_json_config(model.config().vision), io::hash_tensors(weights), mose::str(session.device.type()), mose::str(model.type()),
              autocast.enabled ? mose::str(autocast.type) : "none"}
      .dump();
}

std::optional<data::FeatureCache> feature_cache(Session& session, const StageConfig& stage, bool learns) {
  const auto& data = session.recipe.data;
  if (data.feature_cache.empty()) return {};
  const char* reason = data.loader.blind                    ? "data.loader.blind replaces the images"
                       : data.loader.augment_brightness > 0 ? "data.loader.augment_brightness changes the images"
                                                            : nullptr;
  if (reason) log::warn("stage ", stage.name, ": data.feature_cache is not used: ", reason);
  if (!reason && learns) log::info("stage ", stage.name, ": data.feature_cache is not used: the stage trains the tower");
  if (reason || learns) return {};
  share_weights(session);  // the identity is of the weights that all go on with
  const auto compute = [model = session.bundle.model, device = session.device, autocast = session.compute().autocast](const torch::Tensor& tiles) {
    const torch::NoGradGuard no_grad;
    const nn::AutocastGuard guard(device.type(), autocast);
    return model->tower_features(tiles.to(device)).to(torch::kCPU);
  };
  return data::FeatureCache{std::make_shared<data::FeatureStore>(data.feature_cache), tower_identity(session), compute};
}

}  // namespace

void settle_tower(Session& session, const StageConfig& stage) {
  const bool learns = tower_learns(*session.bundle.model, stage);
  if (!learns) {
    for (auto& parameter : session.bundle.model->tower()->parameters()) parameter.set_requires_grad(false);
  }
  const auto identity = [&] { return session.features ? session.features->tower : ""; };
  const std::string before = identity();
  session.features = feature_cache(session, stage, learns);
  if (!session.validation.empty() && identity() == before) return;
  session.validation.clear();
  auto loader = make_loader(session, session.validation_samples, nullptr);
  for (int64_t i = loader.batches_in_epoch(0); i > 0; --i) {
    auto batch = loader.next();
    if (batch.samples > 0) session.validation.push_back(data::to_device(batch, session.device));
  }
}

void report_features(const Session& session, const StageConfig& stage) {
  if (!session.features) return;
  const auto& store = *session.features->store;
  log::info("stage ", stage.name, ": features: ", store.read(), " read, ", store.written(), " computed, ", store.damaged(),
            " damaged; in ", store.folder().string());
}

}  // namespace mose::train
