// Sampling as it is written in a book: sort, cut, add up, in double. What the tests hold src/infer against.
#pragma once

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <vector>

namespace mose::tests {

inline int64_t plain_sample(const torch::Tensor& logits_V, double temperature, int64_t top_k, double top_p, double uniform) {
  const auto logits = logits_V.to(torch::kFloat64).contiguous();
  const double* z = logits.const_data_ptr<double>();
  std::vector<int64_t> order(static_cast<size_t>(logits.numel()));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::stable_sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return z[a] > z[b]; });
  if (top_k > 0 && top_k < logits.numel()) order.resize(static_cast<size_t>(top_k));
  std::vector<double> p;
  double sum = 0;
  for (const int64_t id : order) sum += p.emplace_back(std::exp((z[id] - z[order[0]]) / temperature));
  double mass = 0;
  for (size_t i = 0; i < p.size(); ++i) {
    mass += p[i] / sum;
    if (mass >= top_p) p.resize(i + 1);
  }
  sum = std::accumulate(p.begin(), p.end(), 0.0);
  for (size_t i = 0; i < p.size(); ++i) {
    uniform -= p[i] / sum;
    if (uniform < 0) return order[i];
  }
  return order[p.size() - 1];
}

struct SamplingCase {
  double temperature;
  int64_t top_k;
  double top_p;
};
// All tokens; cuts of either kind, of both, that leave one token, that leave all.
inline std::vector<SamplingCase> sampling_cases(int64_t classes) {
  return {{1, 0, 1}, {0.3, 0, 1}, {5, 3, 1}, {1, 1, 1}, {1, classes, 0.9}, {0.7, 0, 0.5}, {2, 20, 0.8}, {1, 0, 0}, {1, 0, 0.999999}, {0.01, 50, 0.99}};
}

}  // namespace mose::tests
