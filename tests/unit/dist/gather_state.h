// The optimizer state of all processes together, as a checkpoint holds it.
#pragma once

#include <torch/torch.h>

#include <map>
#include <sstream>
#include <string>
#include <vector>

#include "mose/dist/communicator.h"

namespace mose::tests {

using State = std::map<std::string, torch::Tensor>;

inline State gather_state(const State& share, dist::Communicator& group) {
  std::vector<torch::Tensor> tensors;
  std::string names;
  for (const auto& [name, tensor] : share) {
    names += name + "\n";
    tensors.push_back(tensor);
  }
  std::ostringstream bytes;
  torch::save(tensors, bytes);
  const auto all_names = dist::gather_texts(group, names), all_bytes = dist::gather_texts(group, bytes.str());
  State state;
  for (size_t r = 0; r < all_names.size(); ++r) {
    if (all_names[r].empty()) continue;
    std::istringstream in(all_bytes[r]), lines(all_names[r]);
    std::vector<torch::Tensor> loaded;
    torch::load(loaded, in);
    std::string name;
    for (const torch::Tensor& tensor : loaded) {
      std::getline(lines, name);
      state[name] = tensor;
    }
  }
  return state;
}

}  // namespace mose::tests
