// One optimizer for a trainer, whatever is divided over processes: nothing, gradients summed (data parallel), the
// optimizer's state (ZeRO-1), experts, or the last two together.
//
//   Optimizer optimizer(parameters, config, world, {.sharded = true});
//   for (part : parts of this process) {
//     if (part is the last) optimizer.arm();
//     loss(part).backward();
//   }
//   Tensor norm = optimizer.finish(1.0);
//   optimizer.step(learning_rate);
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/dist/expert_parallel.h"
#include "mose/dist/reducer.h"
#include "mose/optim/adamw.h"

namespace mose::dist {

struct OptimizerPlan {
  bool sharded = false;   // state divided over the processes that hold the same parameters
  ReducerConfig reducer;
  ExpertGroups experts;   // empty: every process has all experts
  std::string divided = "*.experts.*";  // names of the parameters that shard_experts has divided
};

class Optimizer {
 public:
  // `parameters` in the same order on every process. Errors as optim::AdamW.
  Optimizer(const std::vector<optim::NamedParameter>& parameters, const optim::AdamWConfig& config,
            std::shared_ptr<Communicator> world, OptimizerPlan plan = {});
  ~Optimizer();

  void arm();  // before the last backward pass of a step
  // Waits until gradients are sums over all processes and scales them so that their norm is at most max_norm (0: not).
  // The norm before, a float32 scalar; the same on every process.
  torch::Tensor finish(double max_norm);
  void step(double learning_rate);  // parameters with a gradient on any process
  void zero_grad();                 // gradients become undefined

  // What this process writes into a checkpoint: the shares of all processes together are the whole state by parameter
  // name, in pieces where it is divided (mose/optim/update.h). Processes that would only repeat others give nothing.
  std::map<std::string, torch::Tensor> state() const;
  // The shares of all, of any number of processes and any plan. DataError as optim::AdamW.
  void load_state(const std::map<std::string, torch::Tensor>& state);

  const std::vector<optim::NamedParameter>& parameters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::dist
