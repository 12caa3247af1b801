// The kernels for x86-64-v3: AVX2 and fused multiply-add.
#include "nn/cpu/kernels_body.h"
#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
const KernelSet kernels_v3 = {table<float>(), table<uint16_t>()};
}
