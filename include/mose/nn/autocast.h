// Mixed precision: float32 parameters, products in a shorter type.
#pragma once

#include <torch/types.h>

namespace mose::nn {

// The autocast state of a device type, to be carried to where work is done again.
struct AutocastState {
  bool enabled = false;
  torch::Dtype type = torch::kBFloat16;
  bool cache = true;  // whether a parameter's cast is kept for its next use
};
AutocastState autocast_state(torch::DeviceType device);

// While it lives, products take their operands in `state.type`, and what needs the range (norms, softmax, losses) stays
// in float32, as PyTorch's autocast lists have it. Routers compute in float32 in any case.
class AutocastGuard {
 public:
  AutocastGuard(torch::DeviceType device, const AutocastState& state);
  ~AutocastGuard();
  AutocastGuard(const AutocastGuard&) = delete;
  AutocastGuard& operator=(const AutocastGuard&) = delete;

 private:
  torch::DeviceType device_;
  AutocastState before_;
};

}  // namespace mose::nn
