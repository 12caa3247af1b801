#include "infer/sampling.h"

#include <ATen/Dispatch.h>
#include <torch/torch.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>

#include "infer/cuda/kernels.h"
#include "mose/core/error.h"
#include "mose/nn/inference.h"
#include "nn/cuda/tensors.h"

namespace mose::infer {
namespace {

namespace gpu = nn::cuda;

// The GPU's kernels of the same choices; undefined where they do not serve.
torch::Tensor choose_on_gpu(const torch::Tensor& logits_NV, const SamplingConfig& config, const torch::Tensor& uniform_N) {
  if (!gpu::has_kernels(logits_NV) || logits_NV.size(1) >= 1 << 20) return {};
  const auto logits = logits_NV.contiguous(), chosen_N = torch::empty({logits.size(0)}, logits.options().dtype(torch::kInt64));
  gpu::with_kernels(logits, [&]<class T>(auto stream, T) {
    if (config.temperature > 0) {
      cuda::sample(stream, gpu::in<T>(logits), gpu::in<double>(uniform_N), config.temperature, config.top_k, config.top_p, gpu::out<int64_t>(chosen_N),
                   logits.size(0), logits.size(1));
    } else {
      cuda::argmax(stream, gpu::in<T>(logits), gpu::out<int64_t>(chosen_N), logits.size(0), logits.size(1));
    }
  });
  return chosen_N;
}

// As logits.argmax(1), whose CPU form looks at one number at a time: ten times as long over 32,000 of bfloat16.
torch::Tensor largest(const torch::Tensor& logits_NV) {
  if (!logits_NV.is_cpu() || !logits_NV.is_contiguous() || logits_NV.numel() == 0) return logits_NV.argmax(1);
  const int64_t rows = logits_NV.size(0), classes = logits_NV.size(1);
  torch::Tensor top_N = nn::empty({rows}, logits_NV.options());
  at::amax_out(top_N, logits_NV, 1);
  const auto chosen_N = nn::empty({rows}, logits_NV.options().dtype(torch::kInt64));
  AT_DISPATCH_FLOATING_TYPES_AND2(at::kHalf, at::kBFloat16, logits_NV.scalar_type(), "largest", [&] {
    for (int64_t n = 0; n < rows; ++n) {
      const auto* row = logits_NV.const_data_ptr<scalar_t>() + n * classes;
      const scalar_t top = top_N.const_data_ptr<scalar_t>()[n];
      const auto is_top = [top](scalar_t value) { return value == top || value != value; };  // NaN counts as the largest
      chosen_N.mutable_data_ptr<int64_t>()[n] = std::find_if(row, row + classes, is_top) - row;
    }
  });
  return chosen_N;
}

}  // namespace

int64_t sample_token(const float* logits, int64_t size, const SamplingConfig& config, double uniform) {
  std::vector<int64_t> order(static_cast<size_t>(size));
  std::iota(order.begin(), order.end(), int64_t{0});
  const auto value = [&](int64_t id) { return std::isnan(logits[id]) ? -std::numeric_limits<float>::infinity() : logits[id]; };
  std::sort(order.begin(), order.end(), [&](int64_t a, int64_t b) { return value(a) > value(b) || (value(a) == value(b) && a < b); });
  if (config.top_k > 0 && config.top_k < size) order.resize(static_cast<size_t>(config.top_k));
  std::vector<uint64_t> sums;  // of the masses up to each
  uint64_t sum = 0;
  const double top = value(order[0]);
  for (const int64_t id : order) {
    const double weight = std::exp((static_cast<double>(logits[id]) - top) / config.temperature);
    if (weight > 0) sum += static_cast<uint64_t>(std::llrint(weight * cuda::kMassUnit));
    sums.push_back(sum);
  }
  if (sum == 0) return -1;
  uint64_t kept = sum;
  if (config.top_p < 1) {
    const double need = std::ceil(config.top_p * static_cast<double>(sum));
    kept = *std::lower_bound(sums.begin(), sums.end(), need < static_cast<double>(sum) ? std::max<uint64_t>(1, static_cast<uint64_t>(need)) : sum);
  }
  const uint64_t target = std::min(kept - 1, static_cast<uint64_t>(uniform * static_cast<double>(kept)));
  return order[static_cast<size_t>(std::upper_bound(sums.begin(), sums.end(), target) - sums.begin())];
}

RandomStream sampling_stream(const SamplingConfig& config, size_t index) {
  return RandomStream(static_cast<uint64_t>(config.seed), "sample/" + std::to_string(index));
}

torch::Tensor text_logits(const models::VisionLanguageModel& model, const torch::Tensor& hidden_ND) {
  auto logits = model.logits(hidden_ND);
  const int64_t image_token = model.config().image_token_id;
  if (image_token >= 0 && image_token < logits.size(1)) logits.select(1, image_token).fill_(-std::numeric_limits<float>::infinity());
  return logits;
}

torch::Tensor choose_on_device(const torch::Tensor& logits_NV, const SamplingConfig& config, const torch::Tensor& uniform_N) {
  const auto chosen_N = choose_on_gpu(logits_NV, config, uniform_N);
  if (chosen_N.defined()) return chosen_N;
  if (config.temperature == 0) return largest(logits_NV);
  const auto host = logits_NV.to(torch::kCPU, torch::kFloat32).contiguous(), uniform = uniform_N.to(torch::kCPU),
             chosen = torch::empty({host.size(0)}, torch::kInt64);
  for (int64_t n = 0; n < host.size(0); ++n) {
    chosen.mutable_data_ptr<int64_t>()[n] =
        sample_token(host.const_data_ptr<float>() + n * host.size(1), host.size(1), config, uniform.const_data_ptr<double>()[n]);
  }
  return chosen.to(logits_NV.device());
}

torch::Tensor draw_uniform(const SamplingConfig& config, const std::vector<RandomStream*>& streams) {
  if (config.temperature == 0) return {};
  std::vector<double> values;
  for (auto* stream : streams) values.push_back(stream->uniform());
  return torch::tensor(values, torch::kFloat64);
}

std::vector<int64_t> chosen_tokens(const torch::Tensor& chosen_N) {
  const auto host = chosen_N.to(torch::kCPU);
  std::vector<int64_t> tokens(host.const_data_ptr<int64_t>(), host.const_data_ptr<int64_t>() + host.numel());
  if (std::find(tokens.begin(), tokens.end(), -1) != tokens.end()) throw Error("sampling: no token has a probability: the logits are not finite");
  return tokens;
}

std::vector<int64_t> choose_tokens(const torch::Tensor& logits_NV, const SamplingConfig& config, const std::vector<RandomStream*>& streams) {
  const auto uniform_N = draw_uniform(config, streams);
  const bool there = config.temperature > 0 && logits_NV.is_cuda();
  return chosen_tokens(choose_on_device(logits_NV, config, there ? uniform_N.to(logits_NV.device()) : uniform_N));
}

}  // namespace mose::infer
