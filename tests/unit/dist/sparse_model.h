// A model with sparse layers, and tokens that are divided unevenly over processes.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <vector>

#include "mose/core/strings.h"
#include "mose/moe/layer.h"
#include "mose/optim/adamw.h"

namespace mose::tests {

inline constexpr int64_t kWidth = 16, kExperts = 8;

// A map below two sparse layers, so that gradients cross the exchange on their way down.
struct SparseModel {
  torch::Tensor below;
  std::vector<std::shared_ptr<moe::MoeLayer>> layers;

  explicit SparseModel(moe::ExpertForm form = moe::ExpertForm::kSwiglu) {
    torch::manual_seed(5);
    moe::Config config;
    config.experts = kExperts;
    config.router = "topk";
    below = (torch::randn({kWidth, kWidth}) * 0.3).requires_grad_(true);
    for (int i = 0; i < 2; ++i) layers.push_back(std::make_shared<moe::MoeLayer>(config, kWidth, 24, moe::SkillMap{}, form));
  }
  torch::Tensor forward(const torch::Tensor& x_TD) const {
    torch::Tensor y = at::linear(x_TD, below);
    for (const auto& layer : layers) y = y + layer->forward(y).first;
    return y;
  }
  std::vector<optim::NamedParameter> parameters(bool experts) const {
    std::vector<optim::NamedParameter> out;
    if (!experts) out.push_back({"below", below});
    for (size_t i = 0; i < layers.size(); ++i) {
      for (const auto& item : layers[i]->named_parameters()) {
        if (item.key().starts_with("experts.") == experts) out.push_back({mose::str(i, ".", item.key()), item.value()});
      }
    }
    return out;
  }
};

// Ranks have different numbers of tokens; the last of four has none. With `one_sided` all tokens are alike and meet few
// experts, so that some processes receive no rows.
inline std::vector<torch::Tensor> token_shards(int64_t world, bool one_sided, int64_t step = 0) {
  torch::manual_seed(9 + step);
  std::vector<torch::Tensor> shards;
  for (int64_t r = 0; r < world; ++r) {
    const int64_t tokens = r == 3 ? 0 : 6 + 5 * r;
    shards.push_back(one_sided ? torch::ones({tokens, kWidth}) : torch::randn({tokens, kWidth}));
  }
  return shards;
}

inline torch::Tensor loss(const torch::Tensor& y_TD, double tokens) { return y_TD.square().sum() / tokens; }

}  // namespace mose::tests
