// AdamW (Loshchilov and Hutter 2019) over named parameters: float32, or bfloat16 with float32 master weights.
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

struct AdamWPiece;

// For step t of a parameter w with gradient g:
//   m = b1 m + (1 - b1) g,  v = b2 v + (1 - b2) g^2
//   w = w - lr * decay * w - lr * (m / (1 - b1^t)) / (sqrt(v / (1 - b2^t)) + epsilon)
// with lr = learning_rate * its learning_rate_scale, t counted by parameter, and decay = weight_decay,
// or 0 for parameters of fewer than 2 dimensions (norms, biases) and those that no_decay matches. A bfloat16 parameter
// is its float32 master weight, which the formula changes, rounded.
class AdamW {
 public:
  // UsageError on a parameter that is neither float32 nor bfloat16, a name given twice, a scale that is
  // no number, or a pattern that matches no parameter.
  AdamW(std::vector<NamedParameter> parameters, AdamWConfig config);
  ~AdamW();

  // Changes every parameter that has a gradient; the others and their state stay as they are.
  void step(double learning_rate);
  void zero_grad();  // gradients become undefined

  const std::vector<NamedParameter>& parameters() const { return parameters_; }

  // NAME.exp_avg and NAME.exp_avg_sq (and NAME.master of a bfloat16 parameter) of the parameter's shape, NAME.step a
  // scalar, all float32. The tensors are the optimizer's own: save or clone them before the next step.
  std::map<std::string, torch::Tensor> state() const;
  // Copies, from whole tensors or from the pieces that a sharded optimizer saved (update.h). DataError names a
  // tensor that is missing, unknown or of another shape, and nothing is changed.
  void load_state(const std::map<std::string, torch::Tensor>& state);

 private:
  bool has_master(size_t parameter) const;

  std::vector<NamedParameter> parameters_;
  std::vector<AdamWPiece> pieces_;  // by parameter
  AdamWConfig config_;
};

}  // namespace mose::optim
