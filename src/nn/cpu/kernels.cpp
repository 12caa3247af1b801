#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
namespace {

const KernelSet& choose() {
#if defined(MOSE_X86_KERNELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return kernels_v4;
  }
  if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return kernels_v3;
#endif
  return kernels_baseline;
}

const KernelSet& chosen() {
  static const KernelSet& set = choose();
  return set;
}

}  // namespace

template <>
const Kernels<float>& kernels() {
  return chosen().single;
}
template <>
const Kernels<uint16_t>& kernels() {
  return chosen().half;
}

void cross_entropy(float* logits, const int64_t* target, const float* weights, float* losses, int64_t begin, int64_t end,
                   int64_t classes) {
  chosen().cross_entropy(logits, target, weights, losses, begin, end, classes);
}

}  // namespace mose::nn::cpu
