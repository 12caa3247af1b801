// NCCL, present in builds with CUDA: nccl.cpp there, nccl_none.cpp elsewhere.
#pragma once

#include "dist/gloo.h"

namespace mose::dist {

bool has_nccl();       // this build has it and the machine has a GPU
void require_nccl();   // UsageError that says what is missing
// Tensors on the GPU of this process's local rank through NCCL, all else through `gloo`.
std::shared_ptr<Communicator> join_nccl(std::shared_ptr<GlooCommunicator> gloo);

}  // namespace mose::dist
