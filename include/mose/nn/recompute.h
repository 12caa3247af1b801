// Recomputation (Chen et al., 2016): of a block only its input is kept; the backward pass runs it again.
//
//   auto outputs = recompute(block, [&block](const Tensor& x) { return Tensors{block.forward(x)}; }, x);
//
// The second run sees the random numbers and the autocast state of the first, so it computes the same. Each output
// carries its own gradient (a router's logits beside the hidden states). Parameters of the block get theirs also where
// x needs none (a frozen part below).
#pragma once

#include <torch/torch.h>

#include <functional>
#include <vector>

namespace mose::nn {

using Tensors = std::vector<torch::Tensor>;

// work(x) must depend on nothing that changes before the backward pass but x and the block's parameters, and return
// defined tensors. Where nothing needs a gradient it simply runs.
Tensors recompute(torch::nn::Module& block, std::function<Tensors(const torch::Tensor& x)> work, const torch::Tensor& x);

}  // namespace mose::nn
