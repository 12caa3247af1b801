#include "nn/product.h"

#include <ATen/Parallel.h>
#include <ATen/core/dispatch/Dispatcher.h>
#include <torch/torch.h>

namespace mose::nn {
namespace {

using torch::Tensor;

// oneDNN's linear layer has no name in LibTorch's C++ API, only in its table of operators.
using OneDnnLinear = Tensor(const Tensor&, const Tensor&, const std::optional<Tensor>&, std::string_view,
                            c10::List<std::optional<at::Scalar>>, std::optional<std::string_view>);

const std::optional<c10::TypedOperatorHandle<OneDnnLinear>>& onednn_linear() {
  static const auto found = []() -> std::optional<c10::TypedOperatorHandle<OneDnnLinear>> {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_is("amd") || !__builtin_cpu_supports("avx2")) return std::nullopt;
    const auto schema = c10::Dispatcher::singleton().findSchema({"mkldnn::_linear_pointwise", ""});
    if (schema) return schema->typed<OneDnnLinear>();
#endif
    return std::nullopt;
  }();
  return found;
}

// oneDNN shares a product out by blocks of x's rows, and where these are few leaves all to one thread; then it is given
// x W^T as (W x^T)^T, whose rows are many. Two threads of a Zen 4, W 2816 x 512: 1.62 -> 0.45 ms at 16 rows, 2.23 -> 1.23
// at 64, 2.52 -> 1.78 at 88, where a W of 512 x 1408 gains nothing any more; below 15 and from 100 rows on, and for
// transposed views of W, both threads work as it is.
constexpr int64_t kFewestTurned = 15, kMostTurned = 80;

}  // namespace

bool takes_onednn(const Tensor& x, const Tensor& weight) {
  return x.is_cpu() && weight.is_cpu() && x.dim() == 2 && weight.dim() == 2 && x.numel() > 0 && weight.numel() > 0 &&
         x.scalar_type() == torch::kFloat32 && weight.scalar_type() == torch::kFloat32 && onednn_linear();
}

Tensor product(const Tensor& x_RD, const Tensor& weight_OD, const std::optional<Tensor>& bias) {
  if (!takes_onednn(x_RD, weight_OD)) return at::linear(x_RD, weight_OD, bias);
  const auto linear = [](const Tensor& x, const Tensor& weight, const std::optional<Tensor>& b) {
    return onednn_linear()->call(x, weight, b, "none", c10::List<std::optional<at::Scalar>>(), "");
  };
  const int64_t rows = x_RD.size(0);
  if (rows < kFewestTurned || rows > kMostTurned || rows >= weight_OD.size(0) || !weight_OD.is_contiguous() ||
      at::get_num_threads() < 2) {
    return linear(x_RD, weight_OD, bias);
  }
  const Tensor y_RO = linear(weight_OD, x_RD.contiguous(), std::nullopt).t().contiguous();
  return bias ? y_RO.add_(*bias) : y_RO;
}

}  // namespace mose::nn
