// Gradient clipping by global norm, without a wait for the device.
#pragma once

#include <torch/types.h>

#include <vector>

#include "mose/optim/adamw.h"

namespace mose::optim {

// sqrt(sum of all squared gradients) as a float32 scalar tensor on the first gradient's device; 0 on
// the CPU when no parameter has a gradient.
torch::Tensor gradient_norm(const std::vector<NamedParameter>& parameters);

// Multiplies every gradient in place by min(1, max_norm / (norm + 1e-6)). `norm` is a scalar tensor,
// and may cover more parameters than these (a sharded model).
void scale_gradients(const std::vector<NamedParameter>& parameters, const torch::Tensor& norm,
                     double max_norm);

// Both; max_norm 0 only measures. Returns the norm before clipping.
torch::Tensor clip_gradients(const std::vector<NamedParameter>& parameters, double max_norm);

// The norm as a number: the one wait of a step. DivergenceError when it is not finite, naming the step
// and the parameters whose gradients are not.
double finite_norm(const torch::Tensor& norm, const std::vector<NamedParameter>& parameters,
                   int64_t step);

}  // namespace mose::optim
