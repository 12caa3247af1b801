#pragma once

#include <torch/types.h>

namespace mose::train {

// The most memory that this process has held so far, in MiB: of the GPU what its tensors took, of a CPU resident memory.
double peak_memory_mib(torch::Device device);

}  // namespace mose::train
