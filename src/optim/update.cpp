#include "mose/optim/update.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/core/strings.h"
#include "nn/cuda/tensors.h"
#include "optim/cuda/adamw.h"

namespace mose::optim {

using torch::Tensor;

std::vector<ParameterSettings> resolve_settings(const std::vector<NamedParameter>& parameters, const AdamWConfig& config) {
  if (!config.learning_rate_scale.is_object()) {
    throw UsageError(mose::str("optimizer.learning_rate_scale: expected an object, found ", config.learning_rate_scale.dump()));
  }
  std::vector<ParameterSettings> out;
  std::set<std::string> names, used;
  for (const auto& [name, tensor] : parameters) {
    if (!names.insert(name).second) throw UsageError(mose::str("optimizer: two parameters are named ", name));
    if (!tensor.defined() || (tensor.scalar_type() != torch::kFloat32 && tensor.scalar_type() != torch::kBFloat16)) {
      throw UsageError(mose::str("optimizer: parameter ", name, ": expected float32 or bfloat16, found ",
                                 tensor.defined() ? tensor.toString() : "nothing"));
    }
    ParameterSettings settings;
    bool scaled = false;
    for (const auto& [pattern, scale] : config.learning_rate_scale.items()) {
      if (!scale.is_number() || !(scale.get<double>() >= 0)) {
        throw UsageError(mose::str("optimizer.learning_rate_scale.", pattern, ": expected a number of at least 0, found ",
                                   scale.dump()));
      }
      if (!matches(name, pattern)) continue;
      used.insert(pattern);
      if (!scaled) settings.scale = scale.get<double>();
      scaled = true;
    }
    settings.decay = tensor.dim() >= 2 ? config.weight_decay : 0.0;
    for (const std::string& pattern : config.no_decay) {
      if (!matches(name, pattern)) continue;
      used.insert(pattern);
      settings.decay = 0;
    }
    out.push_back(settings);
  }
  const auto check_used = [&](const char* key, const std::string& pattern) {
    if (!used.contains(pattern)) {
      throw UsageError(mose::str("optimizer.", key, ": \"", pattern, "\" matches no trained parameter"));
    }
  };
  for (const auto& item : config.learning_rate_scale.items()) check_used("learning_rate_scale", item.key());
  for (const std::string& pattern : config.no_decay) check_used("no_decay", pattern);
  return out;
}

AdamWPiece AdamWPiece::start(const Tensor& parameter, ParameterSettings settings) {
  const Tensor weight = parameter.detach().to(torch::kFloat32);  // itself where it is float32
  const auto options = weight.options().requires_grad(false);
  return {settings, weight, torch::zeros_like(weight), torch::zeros_like(weight), torch::zeros({}, options)};
}

std::vector<std::pair<std::string, Tensor>> AdamWPiece::tensors(bool master) const {
  std::vector<std::pair<std::string, Tensor>> out = {{".exp_avg", exp_avg}, {".exp_avg_sq", exp_avg_sq}};
  if (master) out.emplace_back(".master", weight);
  return out;
}

namespace {

// Whether the kernel takes them all: of one device, their elements one behind the other.
bool has_kernel(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& rounded) {
  const auto device = pieces.front()->weight.device();
  for (size_t i = 0; i < pieces.size(); ++i) {
    for (const Tensor& t : {pieces[i]->weight, pieces[i]->exp_avg, pieces[i]->exp_avg_sq, pieces[i]->step}) {
      if (!nn::cuda::has_kernels(t) || t.device() != device || !t.is_contiguous()) return false;
    }
    if (rounded[i].defined() && (!nn::cuda::has_kernels(rounded[i]) || !rounded[i].is_contiguous())) return false;
  }
  return true;
}

void update_on_gpu(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& gradients, const std::vector<Tensor>& rounded,
                   const AdamWConfig& config, double learning_rate) {
  std::vector<Tensor> steps, kept;  // kept until the kernel is in its stream
  std::vector<cuda::Task> tasks;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const AdamWPiece& piece = *pieces[i];
    const auto& gradient = kept.emplace_back(nn::cuda::has_kernels(gradients[i]) ? gradients[i].contiguous()
                                                                                 : gradients[i].to(torch::kFloat32).contiguous());
    cuda::Task task{};
    task.weight = nn::cuda::out<float>(piece.weight);
    task.exp_avg = nn::cuda::out<float>(piece.exp_avg);
    task.exp_avg_sq = nn::cuda::out<float>(piece.exp_avg_sq);
    task.gradient = gradient.const_data_ptr();
    task.gradient_is_half = gradient.scalar_type() == torch::kBFloat16;
    if (rounded[i].defined()) {
      task.rounded = rounded[i].mutable_data_ptr();
      task.rounded_is_half = rounded[i].scalar_type() == torch::kBFloat16;
    }
    task.step = nn::cuda::in<float>(piece.step);
    task.elements = piece.weight.numel();
    task.rate = static_cast<float>(learning_rate * piece.settings.scale);
    task.decay = static_cast<float>(piece.settings.decay);
    tasks.push_back(task);
    steps.push_back(piece.step);
    // Autograd learns of changes by them, as of those of any operation.
    for (const Tensor& changed : {piece.weight, rounded[i]}) {
      if (changed.defined()) changed.unsafeGetTensorImpl()->bump_version();
    }
  }
  at::_foreach_add_(steps, 1);
  nn::cuda::on_stream(pieces.front()->weight, [&](auto stream) {
    cuda::update(stream, tasks, cuda::Settings{config.beta1, config.beta2, config.epsilon});
  });
}

bool sliceable(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& rounded) {
  const auto fits = [](const Tensor& t) { return !t.defined() || (t.is_cpu() && t.is_contiguous()); };
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (!fits(pieces[i]->weight) || !fits(pieces[i]->exp_avg) || !fits(pieces[i]->exp_avg_sq) || !fits(rounded[i])) return false;
  }
  return true;
}

// Slice by slice, so that what is widened before and rounded after the update is still in the CPU's caches.
void update_on_cpu(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& gradients, const std::vector<Tensor>& rounded,
                   const AdamWConfig& config, double learning_rate) {
  constexpr int64_t kSlice = 1 << 18;
  for (size_t i = 0; i < pieces.size(); ++i) {
    AdamWPiece& piece = *pieces[i];
    const Tensor gradient = gradients[i].reshape({-1}), weight = piece.weight.view({-1}), exp_avg = piece.exp_avg.view({-1}),
                 exp_avg_sq = piece.exp_avg_sq.view({-1}), to = rounded[i].defined() ? rounded[i].view({-1}) : Tensor();
    piece.step.add_(1);
    for (int64_t begin = 0; begin < weight.numel(); begin += kSlice) {
      const auto slice = [&](const Tensor& t) { return t.narrow(0, begin, std::min(kSlice, weight.numel() - begin)); };
      at::_fused_adamw_({slice(weight)}, {slice(gradient).to(torch::kFloat32)}, {slice(exp_avg)}, {slice(exp_avg_sq)}, {}, {piece.step},
                        learning_rate * piece.settings.scale, config.beta1, config.beta2, piece.settings.decay, config.epsilon,
                        /*amsgrad=*/false, /*maximize=*/false);
      if (to.defined()) slice(to).copy_(slice(weight));
    }
  }
}

}  // namespace

void update(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& gradients, const std::vector<Tensor>& rounded,
            const AdamWConfig& config, double learning_rate) {
  const torch::NoGradGuard no_grad;
  if (pieces.empty()) return;
  if (has_kernel(pieces, rounded)) return update_on_gpu(pieces, gradients, rounded, config, learning_rate);
  if (sliceable(pieces, rounded)) return update_on_cpu(pieces, gradients, rounded, config, learning_rate);
  struct Group {
    std::vector<Tensor> weights, gradients, exp_avgs, exp_avg_sqs, steps;
  };
  // A few at a time, since gradients of a shorter type are held in float32 too; a GPU wants larger pieces.
  const int64_t most = pieces.front()->weight.is_cpu() ? 2 << 20 : 64 << 20;
  std::map<std::tuple<std::string, double, double>, Group> groups;
  const auto update_groups = [&] {
    for (auto& [key, group] : groups) {
      at::_foreach_add_(group.steps, 1);
      at::_fused_adamw_(group.weights, group.gradients, group.exp_avgs, group.exp_avg_sqs, {}, group.steps,
                        learning_rate * std::get<1>(key), config.beta1, config.beta2, std::get<2>(key), config.epsilon,
                        /*amsgrad=*/false, /*maximize=*/false);
    }
    groups.clear();
  };
  int64_t elements = 0;
  for (size_t i = 0; i < pieces.size(); ++i) {
    const AdamWPiece& piece = *pieces[i];
    if (elements > most) {
      update_groups();
      elements = 0;
    }
    elements += gradients[i].numel();
    Group& group = groups[{piece.weight.device().str(), piece.settings.scale, piece.settings.decay}];
    group.weights.push_back(piece.weight);
    group.gradients.push_back(gradients[i].to(torch::kFloat32));
    group.exp_avgs.push_back(piece.exp_avg);
    group.exp_avg_sqs.push_back(piece.exp_avg_sq);
    group.steps.push_back(piece.step);
  }
  update_groups();
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (rounded[i].defined()) rounded[i].copy_(pieces[i]->weight);
  }
}

}  // namespace mose::optim
