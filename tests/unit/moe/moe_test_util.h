// Small taxonomies and plain float64 references for the tests of moe.
#pragma once

#include <torch/torch.h>

#include <cmath>
#include <string>
#include <vector>

#include "mose/moe/layer.h"
#include "mose/skills/taxonomy.h"

namespace mose::moe::testing {

// Stages "g0", "g1", ... and skills "s0", "s1", ... with the given stages.
inline skills::Taxonomy make_taxonomy(const std::vector<int64_t>& stage_of_skill, int64_t stages) {
  Json json{{"stages", Json::array()}, {"skills", Json::array()}};
  for (int64_t g = 0; g < stages; ++g) {
    json["stages"].push_back({{"name", "g" + std::to_string(g)}, {"header", "Stage " + std::to_string(g) + ":"}});
  }
  for (size_t s = 0; s < stage_of_skill.size(); ++s) {
    json["skills"].push_back({{"name", "s" + std::to_string(s)}, {"stage", "g" + std::to_string(stage_of_skill[s])}});
  }
  return skills::Taxonomy::from_json(json, "test taxonomy");
}

inline Config config_of(const std::string& router, int64_t experts = 5, int64_t top_k = 2, int64_t shared = 0) {
  Config config;
  config.router = router;
  config.experts = experts;
  config.top_k = top_k;
  config.shared_experts = shared;
  return config;
}

using Matrix = std::vector<std::vector<double>>;

inline Matrix to_matrix(const torch::Tensor& t) {
  const torch::Tensor d = t.detach().to(torch::kFloat64).contiguous();
  Matrix out(static_cast<size_t>(d.size(0)), std::vector<double>(static_cast<size_t>(d.size(1))));
  for (int64_t i = 0; i < d.size(0); ++i) {
    for (int64_t j = 0; j < d.size(1); ++j) out[static_cast<size_t>(i)][static_cast<size_t>(j)] = d[i][j].item<double>();
  }
  return out;
}

// x W^T by plain loops.
inline Matrix multiply(const Matrix& x, const Matrix& w) {
  Matrix out(x.size(), std::vector<double>(w.size(), 0.0));
  for (size_t t = 0; t < x.size(); ++t) {
    for (size_t r = 0; r < w.size(); ++r) {
      for (size_t d = 0; d < x[t].size(); ++d) out[t][r] += x[t][d] * w[r][d];
    }
  }
  return out;
}

inline std::vector<double> softmax(const std::vector<double>& logits) {
  std::vector<double> out;
  double sum = 0;
  for (const double l : logits) sum += std::exp(l);
  for (const double l : logits) out.push_back(std::exp(l) / sum);
  return out;
}

inline double largest_difference(const torch::Tensor& a, const torch::Tensor& b) {
  return (a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max().item<double>();
}

}  // namespace mose::moe::testing
