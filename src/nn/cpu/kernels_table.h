// The sets of kernels that are compiled; kernels.cpp chooses.
#pragma once

#include "nn/cpu/kernels.h"

namespace mose::nn::cpu {

struct KernelSet {
  Kernels<float> single;
  Kernels<uint16_t> half;  // bfloat16
  void (*cross_entropy)(float* logits, const int64_t* target, const float* weights, float* losses, int64_t begin, int64_t end,
                        int64_t classes);
};

extern const KernelSet kernels_baseline, kernels_v3, kernels_v4;

}  // namespace mose::nn::cpu
