#include "mose/optim/adamw.h"

#include <ATen/ATen.h>

#include "mose/optim/update.h"

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

AdamW::AdamW(std::vector<NamedParameter> parameters, AdamWConfig config)
    : parameters_(std::move(parameters)), config_(std::move(config)) {
  const auto settings = resolve_settings(parameters_, config_);
  for (size_t i = 0; i < settings.size(); ++i) pieces_.push_back(AdamWPiece::start(parameters_[i].tensor, settings[i]));
}

AdamW::~AdamW() = default;

void AdamW::step(double learning_rate) {
  const torch::NoGradGuard no_grad;
  std::vector<AdamWPiece*> pieces;
  std::vector<Tensor> gradients, rounded;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    if (!parameters_[i].tensor.grad().defined()) continue;
    pieces.push_back(&pieces_[i]);
    gradients.push_back(parameters_[i].tensor.grad());
    rounded.push_back(has_master(i) ? parameters_[i].tensor : Tensor());
  }
  update(pieces, gradients, rounded, config_, learning_rate);
}

void AdamW::zero_grad() {
  for (NamedParameter& parameter : parameters_) parameter.tensor.mutable_grad().reset();
}

bool AdamW::has_master(size_t i) const { return parameters_[i].tensor.scalar_type() != torch::kFloat32; }

std::map<std::string, Tensor> AdamW::state() const {
  std::map<std::string, Tensor> state;
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const std::string& name = parameters_[i].name;
    for (const auto& [ending, tensor] : pieces_[i].tensors(has_master(i))) state[name + ending] = tensor;
    state[name + ".step"] = pieces_[i].step;
  }
  return state;
}

void AdamW::load_state(const std::map<std::string, Tensor>& state) {
  const std::map<std::string, Tensor> own = this->state();
  const StateReader reader(state);
  std::set<std::string> known;
  for (const auto& [name, tensor] : own) known.insert(name);
  // Checked as a whole first: a state that does not fit changes nothing.
  reader.check_names(known);
  for (const auto& [name, tensor] : own) reader.check(name, tensor.sizes(), 0, tensor.numel());
  for (const auto& [name, tensor] : own) reader.read(name, 0, tensor.numel(), tensor);
}

}  // namespace mose::optim
