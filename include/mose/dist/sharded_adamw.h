// AdamW whose state is divided over processes (ZeRO stage 1; Rajbhandari et al. 2020).
//
//   ShardedAdamW optimizer(parameters, config, world);
//   for (part : parts of the global batch) {
//     if (part is the last) optimizer.arm();
//     loss(part).backward();                       // full buckets leave: each process receives the sum of its share
//   }
//   optimizer.finish();
//   Tensor norm = optimizer.clip(1.0);
//   optimizer.step(learning_rate);                 // each updates its share; then all have all parameters
//
// Of P parameters a process keeps P / W elements of each state: 8 bytes a parameter of float32, 12 of bfloat16 (with
// its float32 master weight), both over W. Gradients take one copy of the parameters' size, the buckets.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "mose/dist/communicator.h"
#include "mose/dist/reducer.h"
#include "mose/optim/adamw.h"

namespace mose::dist {

// Bitwise equal to GradientReducer and optim::AdamW on the same number of processes, over Gloo, where clipping scales
// nothing; where it does, the norm's last bit can differ, since it is summed in another order.
class ShardedAdamW {
 public:
  // Parameters contiguous, float32 or bfloat16, the same on every process; else as optim::AdamW.
  ShardedAdamW(const std::vector<optim::NamedParameter>& parameters, optim::AdamWConfig config,
               std::shared_ptr<Communicator> group, const ReducerConfig& reducer = {});
  ~ShardedAdamW();

  void arm();
  // Waits for the sums; gradients become undefined, since no process has them whole.
  void finish();
  // Of the whole gradient, a float32 scalar on the parameters' device, after finish().
  torch::Tensor norm();
  // Multiplies the gradient by min(1, max_norm / (norm + 1e-6)), as optim::scale_gradients.
  void scale(const torch::Tensor& norm, double max_norm);
  // Both; max_norm 0 only measures. Returns the norm before clipping, float32.
  torch::Tensor clip(double max_norm);

  // Changes every parameter that had a gradient on any process.
  void step(double learning_rate);

  // This process's share by parameter name: pieces NAME.exp_avg[a:b], NAME.exp_avg_sq[a:b] and NAME.master[a:b] of bfloat16
  // parameters (mose/optim/update.h), NAME.step whole.
  std::map<std::string, torch::Tensor> state() const;
  // From the shares of all processes together, however many they were, or from optim::AdamW's state.
  // DataError as there.
  void load_state(const std::map<std::string, torch::Tensor>& state);

  const std::vector<optim::NamedParameter>& parameters() const;

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::dist
