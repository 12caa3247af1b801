// A model whose parameters differ in how they get gradients, and a batch that is divided over processes.
#pragma once

#include <torch/torch.h>

#include <vector>

#include "mose/dist/communicator.h"
#include "mose/optim/adamw.h"

namespace mose::tests {

// Two layers on every sample; `rare` only where a sample's first feature is above 1, `never` nowhere.
struct Model {
  std::vector<optim::NamedParameter> parameters;

  explicit Model(at::ScalarType type = torch::kFloat32) {
    torch::manual_seed(3);
    const auto add = [&](const char* name, at::IntArrayRef shape) {
      parameters.push_back({name, (torch::randn(shape) * 0.3).to(type).requires_grad_(true)});
    };
    add("first.weight", {37, 8});
    add("first.bias", {37});
    add("second.weight", {5, 37});
    add("rare.weight", {5, 8});
    add("never.weight", {70, 3});
  }
  // The sum over samples, divided by the size of the global batch.
  torch::Tensor loss(const torch::Tensor& x_ND, double whole) const {
    const auto w = [&](size_t i) { return parameters[i].tensor; };
    torch::Tensor y = at::linear(torch::tanh(at::linear(x_ND.to(w(0).scalar_type()), w(0), w(1))), w(2));
    const torch::Tensor chosen = torch::nonzero(x_ND.select(1, 0) > 1).flatten();
    if (chosen.numel() > 0) y = y.index_add(0, chosen, at::linear(x_ND.to(y.scalar_type()).index_select(0, chosen), w(3)));
    return y.to(torch::kFloat32).square().sum() / whole;
  }
};

inline constexpr int64_t kBatch = 8;

// Sample 6 alone reaches `rare`, so one rank of two or four has no gradient for it.
inline torch::Tensor global_batch(int64_t step = 0) {
  torch::manual_seed(11 + step);
  const torch::Tensor x = torch::rand({kBatch, 8}) * 0.9;
  x[6][0] = 1.5;
  return x;
}

// This process's samples of a global batch in `parts`; `sums` is armed before the last.
template <class Sums>
void backward_share(const Model& model, const dist::Communicator& group, int64_t step, int64_t parts, Sums& sums) {
  const auto pieces = global_batch(step).chunk(group.size())[static_cast<size_t>(group.rank())].chunk(parts);
  for (size_t i = 0; i < pieces.size(); ++i) {
    if (i + 1 == pieces.size()) sums.arm();
    model.loss(pieces[i], kBatch).backward();
  }
}

}  // namespace mose::tests
