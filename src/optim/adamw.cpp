#include "mose/optim/adamw.h"

#include <ATen/ATen.h>

#include <map>
#include <set>
#include <sstream>
#include <tuple>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::optim {

using torch::Tensor;

void AdamWConfig::visit(FieldVisitor& v) {
  v.field("beta1", beta1, "decay of the gradient's mean", 0, 0.999999);
  v.field("beta2", beta2, "decay of the gradient's squared mean", 0, 0.999999999);
  v.field("epsilon", epsilon, "added to the denominator", 0, 1);
  v.field("weight_decay", weight_decay, "decoupled weight decay of parameters of 2 or more dimensions",
          0, 10);
  v.field("learning_rate_scale", learning_rate_scale,
          "factor on the learning rate by parameter name pattern (* stands for any text)");
  v.field("no_decay", no_decay, "name patterns of further parameters without weight decay");
}

bool matches(const std::string& name, const std::string& pattern) {
  // The last * is where matching resumes after a mismatch.
  size_t n = 0, p = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

AdamW::AdamW(std::vector<NamedParameter> parameters, AdamWConfig config)
    : parameters_(std::move(parameters)), config_(std::move(config)) {
  if (!config_.learning_rate_scale.is_object()) {
    throw UsageError(mose::str("optimizer.learning_rate_scale: expected an object, found ",
                               config_.learning_rate_scale.dump()));
  }
  std::set<std::string> names, used;
  for (const auto& [name, tensor] : parameters_) {
    if (!names.insert(name).second) throw UsageError(mose::str("optimizer: two parameters are named ", name));
    if (!tensor.defined() || tensor.scalar_type() != torch::kFloat32) {
      throw UsageError(mose::str("optimizer: parameter ", name, ": expected float32, found ",
                                 tensor.defined() ? tensor.toString() : "nothing"));
    }
    Slot slot;
    bool scaled = false;
    for (const auto& [pattern, scale] : config_.learning_rate_scale.items()) {
      if (!scale.is_number() || !(scale.get<double>() >= 0)) {
        throw UsageError(mose::str("optimizer.learning_rate_scale.", pattern,
                                   ": expected a number of at least 0, found ", scale.dump()));
      }
      if (!matches(name, pattern)) continue;
      used.insert(pattern);
      if (!scaled) slot.scale = scale.get<double>();
      scaled = true;
    }
    slot.decay = tensor.dim() >= 2 ? config_.weight_decay : 0.0;
    for (const std::string& pattern : config_.no_decay) {
      if (!matches(name, pattern)) continue;
      used.insert(pattern);
      slot.decay = 0;
    }
    slot.exp_avg = torch::zeros_like(tensor.detach());
    slot.exp_avg_sq = torch::zeros_like(tensor.detach());
    slot.step = torch::zeros({}, tensor.options().requires_grad(false));
    slots_.push_back(std::move(slot));
  }
  const auto check_used = [&](const char* key, const std::string& pattern) {
    if (!used.contains(pattern)) {
      throw UsageError(mose::str("optimizer.", key, ": \"", pattern, "\" matches no trained parameter"));
    }
  };
  for (const auto& item : config_.learning_rate_scale.items()) {
    check_used("learning_rate_scale", item.key());
  }
  for (const std::string& pattern : config_.no_decay) check_used("no_decay", pattern);
}

void AdamW::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  struct Group {
    std::vector<Tensor> parameters, gradients, exp_avgs, exp_avg_sqs, steps;
  };
  std::map<std::tuple<std::string, double, double>, Group> groups;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const Tensor& parameter = parameters_[i].tensor;
    if (!parameter.grad().defined()) continue;
    const Slot& slot = slots_[i];
    Group& group = groups[{parameter.device().str(), slot.scale, slot.decay}];
    group.parameters.push_back(parameter);
    group.gradients.push_back(parameter.grad());
    group.exp_avgs.push_back(slot.exp_avg);
    group.exp_avg_sqs.push_back(slot.exp_avg_sq);
    group.steps.push_back(slot.step);
  }
  for (auto& [key, group] : groups) {
    at::_foreach_add_(group.steps, 1);
    at::_fused_adamw_(group.parameters, group.gradients, group.exp_avgs, group.exp_avg_sqs, {},
                      group.steps, learning_rate * std::get<1>(key), config_.beta1, config_.beta2,
                      std::get<2>(key), config_.epsilon, /*amsgrad=*/false, /*maximize=*/false);
  }
}

void AdamW::zero_grad() {
  for (NamedParameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
}

std::map<std::string, Tensor> AdamW::state() const {
  std::map<std::string, Tensor> state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i].name;
    state[name + ".exp_avg"] = slots_[i].exp_avg;
    state[name + ".exp_avg_sq"] = slots_[i].exp_avg_sq;
    state[name + ".step"] = slots_[i].step;
  }
  return state;
}

void AdamW::load_state(const std::map<std::string, Tensor>& state) {
  const torch::NoGradGuard no_grad;
  const std::map<std::string, Tensor> own = this->state();
  for (const auto& [name, tensor] : state) {
    const auto found = own.find(name);
    if (found == own.end()) {
      throw DataError(mose::str("optimizer state: unknown tensor ", name));
    }
    if (tensor.sizes() != found->second.sizes()) {
      std::ostringstream shapes;
      shapes << found->second.sizes() << ", found " << tensor.sizes();
      throw DataError(mose::str("optimizer state: ", name, ": expected shape ", shapes.str()));
    }
  }
  // Checked as a whole first: a state that does not fit changes nothing.
  for (const auto& [name, tensor] : own) {
    if (!state.contains(name)) throw DataError(mose::str("optimizer state: no tensor ", name));
  }
  for (const auto& [name, tensor] : own) Tensor(tensor).copy_(state.at(name));
}

}  // namespace mose::optim
