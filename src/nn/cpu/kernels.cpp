#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
namespace {

const KernelSet& choose() {
#if defined(MOSE_X86_KERNELS)
  __builtin_cpu_init();
  if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
      __builtin_cpu_supports("avx512vl")) {
    return __builtin_cpu_supports("avx512vnni") ? kernels_vnni : kernels_v4;
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

}  // namespace mose::nn::cpu
