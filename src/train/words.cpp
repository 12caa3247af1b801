#include "mose/train/words.h"

#include <torch/torch.h>

#include <cmath>
#include <tuple>

namespace mose::train {

using torch::Tensor;

namespace {

using Bags = std::vector<const std::vector<int64_t>*>;

WordTable word_table(const Bags& bags, int64_t vocabulary, torch::Device device) {
  const auto size = static_cast<size_t>(vocabulary);
  std::vector<double> rarity(size, 0), prior(size, 0);
  for (const auto* bag : bags) {
    for (const int64_t token : *bag) ++rarity[static_cast<size_t>(token)];
  }
  for (double& count : rarity) count = count > 0 ? std::log(static_cast<double>(bags.size()) / count) : 0;
  for (const auto* bag : bags) {
    double sum = 0;
    for (const int64_t token : *bag) sum += rarity[static_cast<size_t>(token)];
    if (sum <= 0) continue;
    for (const int64_t token : *bag) {
      prior[static_cast<size_t>(token)] += rarity[static_cast<size_t>(token)] / (sum * static_cast<double>(bags.size()));
    }
  }
  for (double& p : prior) p = std::log(p + 1e-6);
  return {torch::tensor(rarity).to(device, torch::kFloat32), torch::tensor(prior).to(device, torch::kFloat32)};
}

// The bag n holds token_N[n] for row_N[n] of rows_RD; rows without a bag are left out.
Tensor bag_loss(const models::VisionLanguageModel& model, const Tensor& rows_RD, const Tensor& row_N,
                const Tensor& token_N, const WordTable& table) {
  const auto [rows, index_N] = at::_unique(row_N, /*sorted=*/true, /*return_inverse=*/true);
  const auto logits_RV = model.logits(rows_RD.index_select(0, rows)).to(torch::kFloat32) + table.log_prior_V;
  auto target_RV = torch::zeros_like(logits_RV);
  // A word counts once however many objects of the row it describes.
  target_RV.index_put_({index_N, token_N}, table.rarity_V.index_select(0, token_N));
  target_RV = target_RV / target_RV.sum(1, true).clamp_min(1e-6);
  return -(target_RV * at::log_softmax(logits_RV, 1)).sum();
}

double distinct(const Tensor& tuples) { return static_cast<double>(std::get<0>(at::unique_dim(tuples, 1)).size(1)); }

}  // namespace

WordTables word_tables(const std::vector<data::Encoded>& samples, int64_t vocabulary, torch::Device device) {
  Bags objects, scenes;
  for (const auto& sample : samples) {
    if (sample.scene_words.empty()) continue;
    scenes.push_back(&sample.scene_words);
    for (const auto& words : sample.object_words) {
      if (!words.empty()) objects.push_back(&words);
    }
  }
  return {word_table(objects, vocabulary, device), word_table(scenes, vocabulary, device)};
}

WordCounts word_counts(const data::Batch& batch) {
  WordCounts counts;
  if (batch.row_words_3N.numel() > 0) counts.rows = distinct(batch.row_words_3N.narrow(0, 0, 2));
  if (batch.scene_words_2N.numel() > 0) counts.images = distinct(batch.scene_words_2N.narrow(0, 0, 1));
  return counts;
}

Tensor words_loss(const models::VisionLanguageModel& model, const Tensor& rows_BQD, const data::Batch& batch,
                  const WordTables& tables, const WordCounts& whole) {
  Tensor loss = torch::zeros({}, rows_BQD.options().dtype(torch::kFloat32));
  if (const auto& words_3N = batch.row_words_3N; words_3N.numel() > 0) {
    const auto row_N = words_3N[0] * rows_BQD.size(1) + words_3N[1];
    loss = loss + bag_loss(model, rows_BQD.flatten(0, 1), row_N, words_3N[2], tables.objects) / whole.rows;
  }
  if (const auto& words_2N = batch.scene_words_2N; words_2N.numel() > 0) {
    loss = loss + bag_loss(model, rows_BQD.mean(1), words_2N[0], words_2N[1], tables.scenes) / whole.images;
  }
  return loss;
}

}  // namespace mose::train
