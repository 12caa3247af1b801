// The transformer blocks of a tower.
#pragma once

#include <memory>
#include <vector>

#include "mose/nn/recompute.h"

namespace mose::vision {

// x through one block after another.
template <class Block>
torch::Tensor run_blocks(const std::vector<std::shared_ptr<Block>>& blocks, torch::Tensor x, bool recompute) {
  for (const auto& block : blocks) {
    x = recompute ? nn::recompute(*block, [block](const torch::Tensor& in) { return nn::Tensors{block->forward(in)}; }, x)[0]
                  : block->forward(x);
  }
  return x;
}

}  // namespace mose::vision
