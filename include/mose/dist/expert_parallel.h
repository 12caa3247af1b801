// Experts divided over processes: each holds E / P of every sparse layer, and rows travel to their experts and back.
//
//   ExpertGroups groups = make_expert_groups(*world, 4);          // 8 processes: two times four
//   for (auto& layer : model.moe_layers()) shard_experts(*layer, groups.parallel);
//   ... forward, backward as ever: rows and their gradients travel by all_to_all with exact counts ...
//   GradientReducer rest(other_parameters, world);
//   GradientReducer experts(expert_parameters, groups.data);      // not world: see below
//
// The experts of a process see the tokens of all P processes of its group, so their gradients are whole within the group
// already, and are summed over `data` alone: the processes that hold the same experts.
//
// Every process of a group runs the same forward and backward passes through the same layers, also with few or no
// tokens. Within an expert rows keep the order of ranks, and so of tokens: an expert computes what it would in one process that
// has the tokens of the group.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/dist/communicator.h"
#include "mose/moe/layer.h"

namespace mose::dist {

struct ExpertGroups {
  std::shared_ptr<Communicator> parallel;  // P processes in a row, which share one set of experts
  std::shared_ptr<Communicator> data;      // those that hold the same experts as this one
};
// UsageError unless `size` divides the number of processes.
ExpertGroups make_expert_groups(Communicator& world, int64_t size);

// Keeps experts [rank E / P, (rank + 1) E / P) of the layer, which holds all of them, and sends rows to where theirs
// are. Names of parameters stay; adapters are divided too. UsageError unless P divides E.
void shard_experts(moe::MoeLayer& layer, std::shared_ptr<Communicator> parallel);

// The whole of a parameter (or of any tensor like it: a gradient, a moment) that shard_experts has divided, on every
// process of the group.
torch::Tensor whole_experts(const torch::Tensor& part, Communicator& parallel);

// The norm of a gradient from that of its part `common` to all processes and that of its part `divided` over the group; float32 scalars.
torch::Tensor whole_norm(const torch::Tensor& common, const torch::Tensor& divided, Communicator& parallel);

}  // namespace mose::dist
