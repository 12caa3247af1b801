// AdamW's update of many tensors in few launches.
#pragma once

#include <cstdint>
#include <vector>

#include "nn/cuda/kernels.h"

namespace mose::optim::cuda {

// Elements of a parameter, all of them one behind the other.
struct Task {
  float *weight, *exp_avg, *exp_avg_sq;
  const void* gradient;  // float32 or bfloat16
  void* rounded;         // gets the new weight, float32 or bfloat16; may be the gradient itself; null = nowhere
  const float* step;     // the number of this step, from 1
  int64_t elements;
  float rate, decay;  // learning rate; weight decay
  bool gradient_is_half, rounded_is_half;
};

struct Settings {
  double beta1, beta2, epsilon;
};

// The formula of mose/optim/adamw.h, in float32 but for 1 - beta^t.
void update(nn::cuda::Stream stream, const std::vector<Task>& tasks, const Settings& settings);

}  // namespace mose::optim::cuda
