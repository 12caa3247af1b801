#include "mose/optim/clip.h"

#include <ATen/ATen.h>

#include <cmath>
#include <map>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::optim {
namespace {

using torch::Tensor;

std::map<std::string, std::vector<Tensor>> gradients_by_device(
    const std::vector<NamedParameter>& parameters) {
  std::map<std::string, std::vector<Tensor>> gradients;
  for (const NamedParameter& parameter : parameters) {
    const Tensor& gradient = parameter.tensor.grad();
    if (gradient.defined()) gradients[gradient.device().str()].push_back(gradient);
  }
  return gradients;
}

// Norms whose norm is that of all these gradients. On a CPU shorter types go slice by slice, so that what is widened for the
// sum is still in its caches.
std::vector<Tensor> partial_norms(const std::vector<Tensor>& gradients) {
  constexpr int64_t kSlice = 1 << 18;
  if (!gradients.front().is_cpu()) return at::_foreach_norm(gradients, 2, torch::kFloat32);
  std::vector<Tensor> norms;
  for (const Tensor& gradient : gradients) {
    const bool whole = gradient.scalar_type() == torch::kFloat32;
    for (const Tensor& slice : whole ? std::vector<Tensor>{gradient} : gradient.reshape({-1}).split(kSlice)) {
      norms.push_back(torch::linalg_vector_norm(slice.to(torch::kFloat32), 2));
    }
  }
  return norms;
}

}  // namespace

Tensor gradient_norm(const std::vector<NamedParameter>& parameters) {
  const torch::NoGradGuard no_grad;
  std::vector<Tensor> norms;
  for (const auto& [device, gradients] : gradients_by_device(parameters)) {
    const Tensor norm = torch::linalg_vector_norm(torch::stack(partial_norms(gradients)), 2);
    norms.push_back(norms.empty() ? norm : norm.to(norms.front().device()));
  }
  if (norms.empty()) return torch::zeros({});
  return norms.size() == 1 ? norms.front() : torch::linalg_vector_norm(torch::stack(norms), 2);
}

void scale_gradients(const std::vector<NamedParameter>& parameters, const Tensor& norm,
                     double max_norm) {
  if (!(max_norm > 0)) throw Error(mose::str("scale_gradients: max_norm must be positive, found ", max_norm));
  const torch::NoGradGuard no_grad;
  const Tensor scale = (max_norm / (norm + 1e-6)).clamp_max(1.0);
  if (scale.is_cpu() && scale.item<double>() == 1) return;  // a GPU is not waited for
  for (auto& [device, gradients] : gradients_by_device(parameters)) {
    at::_foreach_mul_(gradients, scale.to(gradients.front().device()));
  }
}

Tensor clip_gradients(const std::vector<NamedParameter>& parameters, double max_norm) {
  Tensor norm = gradient_norm(parameters);
  if (max_norm > 0) scale_gradients(parameters, norm, max_norm);
  return norm;
}

double finite_norm(const Tensor& norm, const std::vector<NamedParameter>& parameters, int64_t step) {
  const double value = norm.item<double>();
  if (std::isfinite(value)) return value;
  std::vector<std::string> names;
  int64_t bad = 0;
  for (const NamedParameter& parameter : parameters) {
    const Tensor& gradient = parameter.tensor.grad();
    if (!gradient.defined() || gradient.isfinite().all().item<bool>()) continue;
    if (++bad <= 3) names.push_back(parameter.name);
  }
  throw DivergenceError(mose::str("step ", step, ": the gradient norm is ", value, "; ", bad, " of ",
                                  parameters.size(), " parameters have a gradient that is not finite",
                                  bad > 0 ? ": " : "", join(names, ", "), bad > 3 ? ", ..." : ""));
}

}  // namespace mose::optim
