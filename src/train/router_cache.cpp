#include "mose/train/router_cache.h"

#include <torch/torch.h>

#include <algorithm>
#include <sstream>

#include "mose/core/error.h"
#include "mose/train/image_features.h"

namespace mose::train {

using torch::Tensor;

namespace {

// Every tensor of a cache, in a fixed order; all have the rows first.
std::vector<Tensor*> tensors(RouterCache& cache) {
  std::vector<Tensor*> out;
  for (Tensor& input : cache.inputs_ND) out.push_back(&input);
  for (Tensor* label : {&cache.labels.stage_TG, &cache.labels.stage_weight_T, &cache.labels.skill_TS, &cache.labels.skill_weight_T}) {
    out.push_back(label);
  }
  return out;
}

}  // namespace

RouterCache router_inputs(models::VisionLanguageModel& model, const data::Batch& batch) {
  const torch::NoGradGuard no_grad;
  const auto labelled = ((batch.labels.stage_weight_T > 0) | (batch.labels.skill_weight_T > 0)).nonzero().squeeze(1);
  const auto layers = model.moe_layers();
  RouterCache cache;
  language::ForwardOptions options;
  options.on_ffn_input = [&](int64_t layer, const Tensor& x_TD) {
    const bool sparse = std::any_of(layers.begin(), layers.end(), [&](const auto& item) { return item.first == layer; });
    if (sparse) cache.inputs_ND.push_back(x_TD.index_select(0, labelled));
  };
  model.forward(batch.tokens_T, batch.plan, image_features(model, batch).rows_RD, options);
  cache.labels = batch.labels;
  for (Tensor* label : {&cache.labels.stage_TG, &cache.labels.stage_weight_T, &cache.labels.skill_TS, &cache.labels.skill_weight_T}) {
    *label = label->index_select(0, labelled);
  }
  return cache;
}

std::vector<RouterCache> gather_caches(dist::Communicator& world, const RouterCache& own) {
  if (world.size() == 1) return {own};
  const int64_t rows = own.rows();
  const Tensor counts = torch::zeros({world.size()}, torch::kInt64);
  world.all_gather(counts, torch::full({1}, rows, torch::kInt64)).wait();
  // Who has no batch learns the shapes from one that has.
  RouterCache mine = own;
  std::vector<Tensor> shapes;
  std::ostringstream bytes;
  if (!own.inputs_ND.empty()) {
    for (Tensor* t : tensors(mine)) shapes.push_back(t->narrow(0, 0, 0).cpu());
    torch::save(shapes, bytes);
  }
  std::vector<RouterCache> out(static_cast<size_t>(world.size()));
  const auto told = dist::gather_texts(world, bytes.str());
  const auto teller = std::find_if(told.begin(), told.end(), [](const auto& text) { return !text.empty(); });
  if (teller == told.end()) return out;
  std::istringstream in(*teller);
  shapes.clear();
  torch::load(shapes, in);
  const auto device = own.inputs_ND.empty() ? torch::Device(torch::kCPU) : own.inputs_ND.front().device();
  for (int64_t r = 0; r < world.size(); ++r) {
    RouterCache& from = out[static_cast<size_t>(r)];
    from.inputs_ND.resize(shapes.size() - 4);
    auto parts = tensors(from);
    for (size_t i = 0; i < parts.size(); ++i) {
      auto size = shapes[i].sizes().vec();
      size[0] = counts[r].item<int64_t>();
      // Over the CPU: a process without rows does not know the others' device.
      *parts[i] = r == world.rank() && rows > 0 ? tensors(mine)[i]->cpu().contiguous() : torch::empty(size, shapes[i].options());
      world.broadcast(*parts[i], r).wait();
      *parts[i] = parts[i]->to(device);
    }
  }
  return out;
}

RouterCache join_caches(const std::vector<RouterCache>& parts, int64_t max_rows) {
  std::vector<RouterCache> used;
  int64_t rows = 0;
  for (RouterCache part : parts) {
    if (part.rows() == 0 || rows == max_rows) continue;
    const int64_t taken = std::min(part.rows(), max_rows - rows);
    for (Tensor* t : tensors(part)) *t = t->narrow(0, 0, taken);
    rows += taken;
    used.push_back(std::move(part));
  }
  if (rows == 0) throw DataError("router pretraining: no token of the training data carries a skill label");
  RouterCache whole = used.front();
  const auto into = tensors(whole);
  for (size_t i = 0; i < into.size(); ++i) {
    std::vector<Tensor> pieces;
    for (RouterCache& part : used) pieces.push_back(*tensors(part)[i]);
    *into[i] = torch::cat(pieces, 0);
  }
  return whole;
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
