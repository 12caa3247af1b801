#include "mose/train/losses.h"

#include <torch/torch.h>

#include "mose/moe/losses.h"
#include "mose/train/image_features.h"

namespace mose::train {

using torch::Tensor;

StepWeights step_weights(const LossWeights& loss, int64_t step, int64_t steps) {
  StepWeights w;
  w.lm = optim::schedule_value(loss.lm, step, steps);
  w.skill = optim::schedule_value(loss.skill, step, steps);
  w.stage = optim::schedule_value(loss.stage, step, steps);
  w.balance = optim::schedule_value(loss.balance, step, steps);
  w.z = optim::schedule_value(loss.z, step, steps);
  w.region = optim::schedule_value(loss.region, step, steps);
  w.words = optim::schedule_value(loss.words, step, steps);
  w.segments = {loss.describe, loss.reason, loss.plan};
  w.region_positive = loss.region_positive;
  return w;
}

namespace {

// Weight of each supervised row: its segment's; rows outside any segment count 1.
Tensor row_weights(const Tensor& segments_R, const StepWeights& weights) {
  Tensor out_R = torch::ones(segments_R.sizes(), segments_R.options().dtype(torch::kFloat32));
  for (int64_t g = 0; g < 3; ++g) out_R.masked_fill_(segments_R >= g, weights.segments[static_cast<size_t>(g)]);
  return out_R;
}

// The rows that have a target. Counting makes the host wait for a GPU, which therefore is told how many there are.
Tensor supervised_rows(const data::Batch& batch) {
  const Tensor mask_T = batch.targets_T >= 0;
  if (mask_T.is_cpu()) return mask_T.nonzero().squeeze(1);
  at::_assert_async(mask_T.sum() == batch.supervised, "the batch's rows with a target are not as many as it says");
  return at::nonzero_static(mask_T, batch.supervised).squeeze(1);
}

Tensor zero_like_loss(const Tensor& any) { return torch::zeros({}, any.options().dtype(torch::kFloat32)); }

// Cross-entropy of `rows`, those that have a target, with these hidden states; their logits are not all held at once.
Tensor language_loss(const models::VisionLanguageModel& model, const Tensor& hidden_RD, const Tensor& rows, const data::Batch& batch,
                     const StepWeights& weights, const Normalisers& whole, LossReport& report) {
  const auto targets = batch.targets_T.index_select(0, rows);
  const auto segments = batch.segments_T.index_select(0, rows);
  const auto loss = model.vocabulary_loss(hidden_RD, targets, row_weights(segments, weights) / whole.rows);
  {
    const torch::NoGradGuard no_grad;
    for (int64_t g = 0; g < 3; ++g) {
      const auto mask = segments == g;
      report.segment_sum[static_cast<size_t>(g)] = (loss.losses_R * mask).sum();
      report.segment_rows[static_cast<size_t>(g)] = mask.sum();
    }
    report.supervised = static_cast<double>(rows.numel());
  }
  return loss.total;
}

// Binary cross-entropy of "an object of category c covers patch p", a covered patch weighing more
// since most patches are empty. Sum over categories, mean over patches.
Tensor region_loss(const models::VisionLanguageModel& model, const Tensor& tower_BPD, const data::Batch& batch,
                   const StepWeights& weights, const Normalisers& whole) {
  const auto logits_BPC = model.region_logits(tower_BPD).to(torch::kFloat32);
  const auto positive = torch::full({}, weights.region_positive, logits_BPC.options());
  const auto losses = at::binary_cross_entropy_with_logits(logits_BPC, batch.region_BPC, {}, positive, at::Reduction::Sum);
  return losses / (whole.images * static_cast<double>(logits_BPC.size(1)));
}

}  // namespace

Normalisers normalisers(const data::Batch& batch, const StepWeights& weights) {
  Normalisers n;
  const auto rows = supervised_rows(batch);
  n.rows = row_weights(batch.segments_T.index_select(0, rows), weights).sum().item<double>();
  n.tokens = static_cast<double>(batch.plan.tokens());
  n.stage_weight = batch.labels.stage_weight_T.sum().item<double>();
  n.skill_weight = batch.labels.skill_weight_T.sum().item<double>();
  n.samples = static_cast<double>(batch.samples);
  n.images = static_cast<double>(batch.image_count());
  if (weights.words != 0) n.words = word_counts(batch);
  return n;
}

void Normalisers::add(const Normalisers& other) {
  rows += other.rows;
  tokens += other.tokens;
  stage_weight += other.stage_weight;
  skill_weight += other.skill_weight;
  samples += other.samples;
  images += other.images;
  words.rows += other.words.rows;
  words.images += other.words.images;
}

void LossReport::add(const LossReport& other) {
  auto sum = [](Tensor& into, const Tensor& from) {
    if (from.defined()) into = into.defined() ? into + from : from;
  };
  LossReport from = other;  // tensors share their memory: nothing is copied
  const auto into = tensors();
  for (size_t i = 0; i < into.size(); ++i) sum(*into[i], *from.tensors()[i]);
  for (size_t g = 0; g < 3; ++g) {
    sum(segment_sum[g], other.segment_sum[g]);
    sum(segment_rows[g], other.segment_rows[g]);
  }
  supervised += other.supervised;
}

void add_router_losses(const models::VisionLanguageModel& model, const std::vector<moe::Routing>& routings,
                       const moe::RouterLabels& labels, LossReport& report) {
  const auto count = static_cast<int64_t>(routings.size());
  const double share = 1.0 / static_cast<double>(count);
  for (int64_t i = 0; i < count; ++i) {
    const auto losses = moe::router_losses(routings[static_cast<size_t>(i)], labels, model.skill_map());
    const auto teach = moe::supervision(*model.config().language.moe, i, count);
    report.balance = report.balance + share * losses.balance;
    report.z = report.z + share * losses.z;
    if (teach.stage) report.stage = report.stage + share * losses.stage;
    if (teach.skill) report.skill = report.skill + share * losses.skill;
  }
}

Tensor oracle_shares(const moe::RouterLabels& labels, const moe::SkillMap& map) {
  const auto rows = [](const Tensor& weight_T) { return (weight_T > 0).to(torch::kFloat32).unsqueeze(1); };
  const Tensor has_skill = rows(labels.skill_weight_T), has_stage = rows(labels.stage_weight_T) * (1 - has_skill);
  const Tensor of_stage_GS = at::one_hot(map.skill_stage_S, map.stages).t().to(torch::kFloat32);
  const Tensor skills_TS = labels.skill_TS * has_skill + at::mm(labels.stage_TG * has_stage, of_stage_GS / of_stage_GS.sum(1, true));
  return at::mm(skills_TS, map.assignment_SE.to(skills_TS.options()));
}

BatchLoss batch_loss(models::VisionLanguageModel& model, const data::Batch& batch,
                     const StepWeights& weights, const Normalisers& whole, const WordTables* words, const Compute& compute) {
  const nn::AutocastGuard autocast(batch.tokens_T.device().type(), compute.autocast);
  BatchLoss out;
  auto& r = out.report;
  const models::ImageFeatures images = image_features(model, batch, compute.recompute);
  const Tensor& any = images.tower_BPD.defined() ? images.tower_BPD : batch.labels.stage_weight_T;
  for (auto* part : r.tensors()) *part = zero_like_loss(any);
  if (weights.language()) {
    language::ForwardOptions options;
    options.recompute = compute.recompute;
    moe::RouteControl oracle;
    if (compute.route_by_labels && model.sparse()) {
      oracle.given_TE = oracle_shares(batch.labels, model.skill_map());
      options.control = &oracle;
    }
    if (weights.lm != 0 && whole.rows > 0) options.rows_R = supervised_rows(batch);
    auto outputs = model.forward(batch.tokens_T, batch.plan, images.rows_RD, options);
    if (options.rows_R.defined()) r.lm = language_loss(model, outputs.hidden_TD, options.rows_R, batch, weights, whole, r);
    if (weights.routers() && !outputs.routings.empty()) {
      std::vector<moe::Routing> routings;
      for (const auto& layer : outputs.routings) routings.push_back(layer.routing);
      add_router_losses(model, routings, batch.labels, r);
    }
    out.routings = std::move(outputs.routings);
  }
  if (weights.region != 0 && batch.region_BPC.defined()) {
    r.region = region_loss(model, images.tower_BPD, batch, weights, whole);
  }
  if (weights.words != 0 && words && images.embeddings_BQD.defined()) {
    r.words = words_loss(model, images.embeddings_BQD, batch, *words, whole.words);
  }
  // The language, region and words losses are sums over the part divided by the whole; router losses are means over the
  // part, so they are weighted by its share of what they are means of.
  const auto weighted = [](Tensor& mean, const Tensor& weight_T, double of_whole) { mean = mean * (weight_T.sum() / std::max(of_whole, 1e-30)); };
  weighted(r.skill, batch.labels.skill_weight_T, whole.skill_weight);
  weighted(r.stage, batch.labels.stage_weight_T, whole.stage_weight);
  r.z = r.z * (static_cast<double>(batch.plan.tokens()) / whole.tokens);
  r.balance = r.balance * (static_cast<double>(batch.samples) / whole.samples);
  out.loss = weights.lm * r.lm + weights.skill * r.skill + weights.stage * r.stage + weights.balance * r.balance +
             weights.z * r.z + weights.region * r.region + weights.words * r.words;
  r.total = out.loss;
  for (auto* part : r.tensors()) *part = part->detach();
  return out;
}

}  // namespace mose::train
