#include "nn/product.h"

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

}  // namespace

bool takes_onednn(const Tensor& x, const Tensor& weight) {
  return x.is_cpu() && weight.is_cpu() && x.dim() == 2 && weight.dim() == 2 && x.numel() > 0 && weight.numel() > 0 &&
         x.scalar_type() == torch::kFloat32 && weight.scalar_type() == torch::kFloat32 && onednn_linear();
}

Tensor product(const Tensor& x_RD, const Tensor& weight_OD, const std::optional<Tensor>& bias) {
  if (!takes_onednn(x_RD, weight_OD)) return at::linear(x_RD, weight_OD, bias);
  return onednn_linear()->call(x_RD, weight_OD, bias, "none", c10::List<std::optional<at::Scalar>>(), "");
}

}  // namespace mose::nn
