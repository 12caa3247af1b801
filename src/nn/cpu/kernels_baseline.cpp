// The kernels for the instruction set that everything else is compiled for.
#include "nn/cpu/kernels_body.h"
#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
const KernelSet kernels_baseline = {table<float>(), table<uint16_t>()};
}
