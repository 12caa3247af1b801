// The kernels for x86-64-v4 with AVX512-VNNI.
#include "nn/cpu/bytes_body.h"
#include "nn/cpu/kernels_body.h"
#include "nn/cpu/kernels_table.h"

namespace mose::nn::cpu {
const KernelSet kernels_vnni = {with_bytes(table<float>()), with_bytes(table<uint16_t>())};
}
