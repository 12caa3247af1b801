#include "mose/train/words.h"

#include <torch/torch.h>

#include <cmath>
#include <tuple>

namespace mose::train {

using torch::Tensor;

namespace {

using Bags = std::vector<const std::vector<int64_t>*>;

WordTable word_table(const Bags& bags, int64_t vocabulary) {
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
  return {torch::tensor(rarity).to(torch::kFloat32), torch::tensor(prior).to(torch::kFloat32)};
}

// Rows and the bags that their pairs name; rows without a pair are left out.
Tensor bag_loss(const models::VisionLanguageModel& model, const Tensor& rows_RD, const Tensor& pairs_2N,
                const WordTable& table) {
  const auto [rows, index] = at::_unique(pairs_2N.select(0, 0), true, true);
  const auto logits_RV = model.logits(rows_RD.index_select(0, rows)).to(torch::kFloat32) + table.log_prior_V;
  const auto tokens = pairs_2N.select(0, 1);
  auto target_RV = torch::zeros_like(logits_RV);
  // An object's words count once however many objects say them.
  target_RV.index_put_({index, tokens}, table.rarity_V.index_select(0, tokens));
  target_RV = target_RV / target_RV.sum(1, true).clamp_min(1e-6);
  return -(target_RV * at::log_softmax(logits_RV, 1)).sum();
}

}  // namespace

WordTables word_tables(const std::vector<data::Encoded>& samples, int64_t vocabulary) {
  Bags objects, scenes;
  for (const auto& sample : samples) {
    if (sample.scene_words.empty()) continue;
    scenes.push_back(&sample.scene_words);
    for (const auto& words : sample.object_words) {
      if (!words.empty()) objects.push_back(&words);
    }
  }
  return {word_table(objects, vocabulary), word_table(scenes, vocabulary)};
}

int64_t word_bags(const Tensor& pairs_2N) {
  if (!pairs_2N.defined() || pairs_2N.numel() == 0) return 0;
  return std::get<0>(at::_unique(pairs_2N.select(0, 0))).numel();
}

Tensor words_loss(const models::VisionLanguageModel& model, const Tensor& rows_BQD, const data::Batch& batch,
                  const WordTables& tables, double word_rows, double word_images) {
  Tensor loss = torch::zeros({}, rows_BQD.options().dtype(torch::kFloat32));
  if (batch.row_words_2N.numel() > 0) {
    loss = loss + bag_loss(model, rows_BQD.flatten(0, 1), batch.row_words_2N, tables.objects) / word_rows;
  }
  if (batch.scene_words_2N.numel() > 0) {
    loss = loss + bag_loss(model, rows_BQD.mean(1), batch.scene_words_2N, tables.scenes) / word_images;
  }
  return loss;
}

}  // namespace mose::train
