#include "mose/nn/int8.h"

#include <torch/torch.h>

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "nn/cpu/few_rows.h"
#include "nn/cpu/tensors.h"
#include "nn/product.h"

namespace mose::nn {
namespace {

using torch::Tensor;

constexpr int64_t kScaleBytes = 4;
constexpr int64_t kUnpacked = 1 << 20;  // elements of a weight unpacked at a time

}  // namespace

Tensor pack_int8(const Tensor& weight) {
  const torch::NoGradGuard no_grad;
  const Tensor exact = weight.to(torch::kFloat32);
  const Tensor scale = exact.abs().amax(-1, true) / 127;
  const Tensor numbers = (exact / scale.masked_fill(scale == 0, 1)).round().clamp(-127, 127).to(torch::kChar);
  return torch::cat({numbers, scale.contiguous().view(torch::kChar)}, -1);
}

Tensor unpack_int8(const Tensor& packed, torch::Dtype type) {
  const int64_t width = columns(packed);
  const Tensor scale = packed.narrow(-1, width, kScaleBytes).clone(at::MemoryFormat::Contiguous).view(torch::kFloat32);
  return (packed.narrow(-1, 0, width).to(torch::kFloat32) * scale).to(type);
}

void multiply_int8(const Tensor& x_RD, const Tensor& packed_OD, const Tensor& out_RO) {
  const int64_t rows = x_RD.size(0), width = columns(packed_OD), outputs = packed_OD.size(0);
  if (needs_gradient(x_RD)) throw Error("8-bit weights: they are for inference, gradient is asked for");
  if (!cpu::has_kernels(x_RD) || !packed_OD.is_cpu() || !packed_OD.is_contiguous() || x_RD.dim() != 2 || x_RD.size(1) != width) {
    throw Error(mose::str("8-bit weights: expected rows of ", width, " in float32 or bfloat16 on the CPU, found ", x_RD.scalar_type(), " ",
                          x_RD.sizes(), " on ", x_RD.device()));
  }
  if (rows == 0) return;
  if (rows > cpu::few_packed_rows(x_RD.scalar_type()) || !out_RO.is_contiguous()) {
    const int64_t step = std::max<int64_t>(1, kUnpacked / width);
    for (int64_t begin = 0; begin < outputs; begin += step) {
      const int64_t n = std::min(step, outputs - begin);
      out_RO.narrow(1, begin, n).copy_(product(x_RD, unpack_int8(packed_OD.narrow(0, begin, n), x_RD.scalar_type())));
    }
    return;
  }
  cpu::multiply(x_RD.contiguous(), packed_OD, out_RO);
}

}  // namespace mose::nn
