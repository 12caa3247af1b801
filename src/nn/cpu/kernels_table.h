// The sets of kernels that are compiled; kernels.cpp chooses.
#pragma once

#include "nn/cpu/kernels.h"

namespace mose::nn::cpu {

struct KernelSet {
  Kernels<float> single;
  Kernels<uint16_t> half;  // bfloat16
};

extern const KernelSet kernels_baseline, kernels_v3, kernels_v4, kernels_vnni;

}  // namespace mose::nn::cpu
