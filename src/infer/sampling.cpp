#include "infer/sampling.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

namespace mose::infer {
namespace {

// One draw from softmax(logits / temperature), cut to the top_k and then to the top_p mass.
int64_t sample(const float* logits, int64_t size, const SamplingConfig& config, RandomStream& stream) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return logits[a] > logits[b]; });
  if (config.top_k > 0 && config.top_k < size) order.resize(static_cast<size_t>(config.top_k));
  std::vector<double> weights;
  double sum = 0;
  for (const int64_t id : order) {
    weights.push_back(std::exp((logits[id] - logits[order[0]]) / config.temperature));
    sum += weights.back();
  }
  double mass = 0;
  for (size_t i = 0; i < weights.size(); ++i) {
    mass += weights[i] / sum;
    if (mass >= config.top_p) {
      weights.resize(i + 1);
      break;
    }
  }
  return order[stream.weighted(weights)];
}

}  // namespace

RandomStream sampling_stream(const SamplingConfig& config, size_t index) {
  return RandomStream(static_cast<uint64_t>(config.seed), "sample/" + std::to_string(index));
}

torch::Tensor text_logits(const models::VisionLanguageModel& model, const torch::Tensor& hidden_ND) {
  auto logits = model.logits(hidden_ND);
  const int64_t image_token = model.config().image_token_id;
  if (image_token >= 0 && image_token < logits.size(1)) logits.select(1, image_token).fill_(-std::numeric_limits<float>::infinity());
  return logits;
}

std::vector<int64_t> choose_tokens(const torch::Tensor& logits_NV, const SamplingConfig& config, const std::vector<RandomStream*>& streams) {
  std::vector<int64_t> tokens;
  if (config.temperature > 0) {
    const auto host = logits_NV.to(torch::kCPU, torch::kFloat32).contiguous();
    for (size_t n = 0; n < streams.size(); ++n) {
      tokens.push_back(sample(host[static_cast<int64_t>(n)].const_data_ptr<float>(), host.size(1), config, *streams[n]));
    }
    return tokens;
  }
  const auto best = logits_NV.argmax(1).to(torch::kCPU);
  tokens.assign(best.const_data_ptr<int64_t>(), best.const_data_ptr<int64_t>() + best.numel());
  return tokens;
}

}  // namespace mose::infer
