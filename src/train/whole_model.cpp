#include "train/whole_model.h"

#include <torch/torch.h>

#include "mose/core/memory.h"
#include "mose/core/patterns.h"
#include "mose/dist/optimizer.h"

namespace mose::train {
namespace {

using torch::Tensor;

const std::string kDivided = dist::OptimizerPlan().divided;

// On rank 0, which writes; the others of its group only send.
Tensor gather(Session& session, const Tensor& part) {
  const Tensor whole = dist::whole_experts(part.detach(), *session.experts.parallel).cpu();
  return session.first() ? whole : Tensor();
}

}  // namespace

void divide_experts(Session& session) {
  if (!session.experts.parallel || !session.bundle.model->sparse()) return;
  for (const auto& [index, layer] : session.bundle.model->moe_layers()) dist::shard_experts(*layer, session.experts.parallel);
  give_back_freed_memory();
}

bool is_divided(const Session& session, const std::string& name) {
  return session.experts.parallel && session.bundle.model->sparse() && matches(name, kDivided);
}

CheckpointContents whole_model(Session& session, const nn::LoraConfig& lora) {
  CheckpointContents out;
  out.lora = lora;
  // Of the groups that share experts, all of which hold the same, the first one's is written.
  const bool sends = session.experts.parallel && session.world->rank() < session.experts.parallel->size();
  if (!sends && !session.first()) return out;
  std::vector<std::pair<std::string, Tensor>> parameters;
  for (const auto& item : session.bundle.model->named_parameters()) {
    const Tensor value = is_divided(session, item.key()) ? gather(session, item.value()) : item.value().detach();
    if (session.first()) parameters.emplace_back(item.key(), value);
  }
  if (!session.first()) return out;
  out.adapters = session.adapters;
  out.weights = models::weights_for_file(parameters);
  return out;
}

void save_model(Session& session, const std::filesystem::path& dir) {
  const auto contents = whole_model(session, {});
  if (session.keeps()) models::save_bundle(dir, session.bundle, contents.weights, contents.weights.begin()->second.scalar_type());
}

void pass_without_rows(Session& session) {
  auto& model = *session.bundle.model;
  const nn::AutocastGuard autocast(session.device.type(), session.compute().autocast);
  language::ForwardOptions options;
  options.recompute = session.compute().recompute;
  const auto tokens = torch::empty({0}, torch::dtype(torch::kInt64).device(session.device));
  const auto outputs = model.forward(tokens, nn::make_plan({}, session.device), {}, options);
  if (outputs.hidden_TD.requires_grad()) outputs.hidden_TD.sum().backward();
}

}  // namespace mose::train
