// AdamW (Loshchilov and Hutter 2019) over named float32 parameters.
#pragma once

#include <torch/types.h>

#include <map>
#include <string>
#include <vector>

#include "mose/core/config.h"

namespace mose::optim {

struct AdamWConfig {
  double beta1 = 0.9, beta2 = 0.95, epsilon = 1e-8, weight_decay = 0.01;
  Json learning_rate_scale = Json::object();  // {"vision_tower.*": 0.1}: the first match counts
  std::vector<std::string> no_decay;          // patterns, besides all parameters of fewer than 2 dimensions

  void visit(FieldVisitor& v);
};

struct NamedParameter {
  std::string name;
  torch::Tensor tensor;
};

// Whether `name` is `pattern`, where * stands for any text.
bool matches(const std::string& name, const std::string& pattern);

// For step t of a parameter w with gradient g:
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//   w = w - lr * decay * w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
// with lr = learning_rate * its learning_rate_scale, t counted by parameter, and decay = weight_decay,
// or 0 for parameters of fewer than 2 dimensions (norms, biases) and those that no_decay matches.
class AdamW {
 public:
  // UsageError on a parameter that is not float32, a name given twice, a scale that is no number, or a
  // pattern that matches no parameter.
  AdamW(std::vector<NamedParameter> parameters, AdamWConfig config);

  // Changes every parameter that has a gradient; the others and their state stay as they are.
  void step(double learning_rate);
  void zero_grad();  // gradients become undefined

  const std::vector<NamedParameter>& parameters() const { return parameters_; }

  // NAME.exp_avg and NAME.exp_avg_sq as the parameter is, NAME.step a float32 scalar. The tensors are
  // the optimizer's own: save or clone them before the next step.
  std::map<std::string, torch::Tensor> state() const;
  // Copies. DataError names a tensor that is missing, unknown or of another shape.
  void load_state(const std::map<std::string, torch::Tensor>& state);

 private:
  struct Slot {
    double scale = 1, decay = 0;
    torch::Tensor exp_avg, exp_avg_sq, step;
  };
  std::vector<NamedParameter> parameters_;
  std::vector<Slot> slots_;  // by parameter
  AdamWConfig config_;
};

}  // namespace mose::optim
