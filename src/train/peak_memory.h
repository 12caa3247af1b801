#pragma once

#include <torch/types.h>

namespace mose::train {

// The most memory that this process has held so far, in MiB: of a CPU resident memory, of the GPU what LibTorch took from it.
double peak_memory_mib(torch::Device device);
// And what tensors took of it at their most; 0 on a CPU whose tensors are not counted (mose/train/tensor_memory.h).
double peak_tensor_mib(torch::Device device);

}  // namespace mose::train
