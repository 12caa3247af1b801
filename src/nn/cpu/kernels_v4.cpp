// The kernels for x86-64-v4: AVX-512.
#include "nn/cpu/kernels_body.h"
#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
const KernelSet kernels_v4 = {table<float>(), table<uint16_t>()};
}
