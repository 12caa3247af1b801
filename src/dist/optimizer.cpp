#include "mose/dist/optimizer.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/patterns.h"
#include "mose/core/strings.h"
#include "mose/dist/sharded_adamw.h"
#include "mose/optim/clip.h"
#include "mose/optim/update.h"

namespace mose::dist {
namespace {

using optim::NamedParameter;
using torch::Tensor;
using State = std::map<std::string, Tensor>;

// The settings that concern these parameters: a pattern may be meant for others.
optim::AdamWConfig concerning(optim::AdamWConfig config, const std::vector<NamedParameter>& parameters) {
  const auto concerns = [&](const std::string& pattern) {
    return std::any_of(parameters.begin(), parameters.end(), [&](const auto& p) { return matches(p.name, pattern); });
  };
  Json scales = Json::object();
  for (const auto& [pattern, scale] : config.learning_rate_scale.items()) {
    if (concerns(pattern)) scales[pattern] = scale;
  }
  config.learning_rate_scale = scales;
  std::erase_if(config.no_decay, [&](const std::string& pattern) { return !concerns(pattern); });
  return config;
}

// Parameters that the same processes hold, with whole or divided state.
struct Part {
  std::vector<NamedParameter> parameters;
  std::shared_ptr<Communicator> group;
  std::unique_ptr<GradientReducer> reducer;
  std::unique_ptr<optim::AdamW> whole;
  std::unique_ptr<ShardedAdamW> sharded;

  Part(std::vector<NamedParameter> chosen, const optim::AdamWConfig& all, std::shared_ptr<Communicator> holders, const OptimizerPlan& plan)
      : parameters(std::move(chosen)), group(std::move(holders)) {
    const optim::AdamWConfig config = concerning(all, parameters);
    if (plan.sharded && group->size() > 1) {
      sharded = std::make_unique<ShardedAdamW>(parameters, config, group, plan.reducer);
    } else {
      reducer = std::make_unique<GradientReducer>(parameters, group, plan.reducer);
      whole = std::make_unique<optim::AdamW>(parameters, config);
    }
  }
  Tensor norm() { return sharded ? sharded->norm() : optim::gradient_norm(parameters); }
  void scale(const Tensor& norm, double max_norm) {
    sharded ? sharded->scale(norm, max_norm) : optim::scale_gradients(parameters, norm, max_norm);
  }
  State state() const {
    if (sharded) return sharded->state();
    return group->rank() == 0 ? whole->state() : State{};
  }
  void load_state(const State& state) { sharded ? sharded->load_state(state) : whole->load_state(state); }
};

}  // namespace

class Optimizer::Impl {
 public:
  Impl(const std::vector<NamedParameter>& all, const optim::AdamWConfig& config, std::shared_ptr<Communicator> world, OptimizerPlan plan)
      : parameters(all), plan_(std::move(plan)) {
    optim::resolve_settings(all, config);  // every pattern concerns some parameter
    std::vector<NamedParameter> common, divided;
    for (const auto& parameter : all) (is_divided(parameter.name) ? divided : common).push_back(parameter);
    common_ = std::make_unique<Part>(common, config, std::move(world), plan_);
    if (plan_.experts.parallel) divided_ = std::make_unique<Part>(divided, config, plan_.experts.data, plan_);
  }

  void arm() {
    for (Part* part : parts()) part->sharded ? part->sharded->arm() : part->reducer->arm();
  }

  Tensor finish(double max_norm) {
    for (Part* part : parts()) part->sharded ? part->sharded->finish() : part->reducer->finish();
    Tensor norm = common_->norm();
    if (divided_) norm = whole_norm(norm, divided_->norm(), *plan_.experts.parallel);
    if (max_norm > 0) {
      for (Part* part : parts()) part->scale(norm, max_norm);
    }
    return norm;
  }

  void step(double learning_rate) {
    for (Part* part : parts()) part->sharded ? part->sharded->step(learning_rate) : part->whole->step(learning_rate);
  }

  State state() const {
    State out = common_->state();
    if (!divided_) return out;
    // Pieces of this process's experts are pieces of all experts, further on.
    for (const auto& [key, tensor] : divided_->state()) {
      const size_t bracket = key.find('[');
      const std::string name = key.substr(0, bracket);
      if (name.ends_with(".step")) {
        out[name] = tensor;
        continue;
      }
      const int64_t first = offset(name), begin = bracket == std::string::npos ? 0 : std::stoll(key.substr(bracket + 1));
      out[optim::piece_name(name, first + begin, first + begin + tensor.numel())] = tensor;
    }
    return out;
  }

  void load_state(const State& state) {
    const optim::StateReader reader(state);
    State common, own;
    std::set<std::string> known;
    for (const auto& [key, tensor] : state) {
      const std::string name = key.substr(0, key.find('['));
      if (is_divided(name)) {
        known.insert(name);
      } else {
        common[key] = tensor;
      }
    }
    // The experts of this process out of all of them, checked before anything is changed.
    for (const std::string& name : known) {
      const NamedParameter* parameter = owner(name);
      if (parameter == nullptr) throw DataError(mose::str("optimizer state: unknown tensor ", name));
      if (name.ends_with(".step")) {
        own[name] = torch::empty({}, torch::kFloat32);
        reader.check(name, {}, 0, 1);
        reader.read(name, 0, 1, own[name]);
        continue;
      }
      std::vector<int64_t> shape = parameter->tensor.sizes().vec();
      const int64_t first = offset(name), count = parameter->tensor.numel();
      own[name] = torch::empty(shape, parameter->tensor.options().dtype(torch::kFloat32).requires_grad(false));
      shape.front() *= plan_.experts.parallel->size();
      reader.check(name, shape, first, first + count);
      reader.read(name, first, first + count, own[name]);
    }
    common_->load_state(common);
    if (divided_) divided_->load_state(own);
  }

  const std::vector<NamedParameter> parameters;

 private:
  bool is_divided(const std::string& name) const { return plan_.experts.parallel && matches(name, plan_.divided); }
  std::vector<Part*> parts() const {
    return divided_ ? std::vector<Part*>{common_.get(), divided_.get()} : std::vector<Part*>{common_.get()};
  }
  // The parameter whose state this is.
  const NamedParameter* owner(const std::string& state_name) const {
    const std::string name = state_name.substr(0, state_name.rfind('.'));
    for (const auto& parameter : divided_->parameters) {
      if (parameter.name == name) return &parameter;
    }
    return nullptr;
  }
  // Where this process's elements begin among all experts'.
  int64_t offset(const std::string& state_name) const {
    return owner(state_name)->tensor.numel() * plan_.experts.parallel->rank();
  }

  const OptimizerPlan plan_;
  std::unique_ptr<Part> common_, divided_;
};

Optimizer::Optimizer(const std::vector<NamedParameter>& parameters, const optim::AdamWConfig& config,
                     std::shared_ptr<Communicator> world, OptimizerPlan plan)
    : impl_(std::make_unique<Impl>(parameters, config, std::move(world), std::move(plan))) {}
Optimizer::~Optimizer() = default;

void Optimizer::arm() { impl_->arm(); }
Tensor Optimizer::finish(double max_norm) { return impl_->finish(max_norm); }
void Optimizer::step(double learning_rate) { impl_->step(learning_rate); }

void Optimizer::zero_grad() {
  for (const auto& parameter : impl_->parameters) Tensor(parameter.tensor).mutable_grad().reset();
}

State Optimizer::state() const { return impl_->state(); }
void Optimizer::load_state(const State& state) { impl_->load_state(state); }
const std::vector<NamedParameter>& Optimizer::parameters() const { return impl_->parameters; }

}  // namespace mose::dist
