// What AdamW and its form sharded over processes share: settings by parameter, the update, state by name.
#pragma once

#include <torch/types.h>

#include <map>
#include <set>
#include <string>
#include <vector>

#include "mose/optim/adamw.h"

namespace mose::optim {

struct ParameterSettings {
  double scale = 1, decay = 0;  // factor on the learning rate; weight decay
};

// UsageError on a parameter that is neither float32 nor bfloat16, a name given twice, a scale that is no number, or
// a pattern that matches no parameter.
std::vector<ParameterSettings> resolve_settings(const std::vector<NamedParameter>& parameters, const AdamWConfig& config);

// A parameter, or consecutive elements of one, with its state. `weight` is what the update works on, in float32: the
// parameter itself, or its master copy where the parameter is bfloat16.
struct AdamWPiece {
  ParameterSettings settings;
  torch::Tensor weight, exp_avg, exp_avg_sq, step;

  static AdamWPiece start(const torch::Tensor& parameter, ParameterSettings settings);
  // NAME.exp_avg, NAME.exp_avg_sq, and NAME.master where the weight is not the parameter, by their endings.
  std::vector<std::pair<std::string, torch::Tensor>> tensors(bool master) const;
};

// One step of every piece (the formula of adamw.h), gradients in float32 or bfloat16. Each of `rounded` that is defined gets
// its piece's new weight in its own type; it may be the gradient. On a GPU all of it is one kernel over many tensors.
void update(const std::vector<AdamWPiece*>& pieces, const std::vector<torch::Tensor>& gradients, const std::vector<torch::Tensor>& rounded,
            const AdamWConfig& config, double learning_rate);

// Optimizer state by name: a tensor "w.exp_avg" whole, or in pieces "w.exp_avg[128:640]" of its elements 128 to 639,
// so that what one number of processes wrote another reads.
std::string piece_name(const std::string& name, int64_t begin, int64_t end);

class StateReader {
 public:
  explicit StateReader(const std::map<std::string, torch::Tensor>& state);  // DataError on a malformed piece

  // DataError unless elements [begin, end) of a tensor of this shape are there.
  void check(const std::string& name, at::IntArrayRef shape, int64_t begin, int64_t end) const;
  // DataError on a tensor of another name.
  void check_names(const std::set<std::string>& known) const;
  // Copies them; `out` has end - begin elements.
  void read(const std::string& name, int64_t begin, int64_t end, const torch::Tensor& out) const;

 private:
  struct Piece {
    int64_t begin, end;
    torch::Tensor tensor;
    bool whole;
  };
  std::map<std::string, std::vector<Piece>> pieces_;  // by name, in order
};

}  // namespace mose::optim
