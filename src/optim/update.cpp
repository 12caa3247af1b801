#include "mose/optim/update.h"

#include <ATen/ATen.h>

#include <tuple>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/core/strings.h"

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

void update(const std::vector<AdamWPiece*>& pieces, const std::vector<Tensor>& gradients, const AdamWConfig& config,
            double learning_rate) {
  const torch::NoGradGuard no_grad;
  struct Group {
    std::vector<Tensor> weights, gradients, exp_avgs, exp_avg_sqs, steps;
  };
  // A few at a time, since gradients of a shorter type are held in float32 too; a GPU wants larger pieces.
  const int64_t most = pieces.empty() || pieces.front()->weight.is_cpu() ? 2 << 20 : 64 << 20;
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
}

}  // namespace mose::optim
