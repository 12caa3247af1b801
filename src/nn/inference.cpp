#include "mose/nn/inference.h"

#include <torch/torch.h>

#include <algorithm>

namespace mose::nn {
namespace {

// More are forgotten at once: they are of sizes that do not come again.
constexpr size_t kMostBuffers = 1024;

thread_local Buffers* current = nullptr;

// Views have a tensor of their own and share the storage.
bool held(const torch::Tensor& t) { return t.use_count() > 1 || t.storage().use_count() > 1; }

}  // namespace

torch::Tensor Buffers::take(at::IntArrayRef sizes, torch::Dtype type) {
  for (const torch::Tensor& t : given_) {
    if (t.sizes() == sizes && t.scalar_type() == type && !held(t)) return t;
  }
  if (given_.size() >= kMostBuffers) given_.clear();
  return given_.emplace_back(at::empty(sizes, type));
}

BuffersGuard::BuffersGuard(Buffers& buffers) : before_(current) { current = &buffers; }
BuffersGuard::~BuffersGuard() { current = before_; }

torch::Tensor empty(at::IntArrayRef sizes, const torch::TensorOptions& options) {
  if (!current || at::GradMode::is_enabled() || !options.device().is_cpu()) return at::empty(sizes, options);
  return current->take(sizes, c10::typeMetaToScalarType(options.dtype()));
}

torch::Tensor host_indices(const std::vector<int64_t>& values) {
  const auto out = empty({static_cast<int64_t>(values.size())}, torch::kInt64);
  std::copy(values.begin(), values.end(), out.mutable_data_ptr<int64_t>());
  return out;
}

torch::Tensor add_to(const torch::Tensor& x, torch::Tensor y) {
  if (needs_gradient(x, y) || x.scalar_type() != y.scalar_type() || x.sizes() != y.sizes()) return x + y;
  return y.add_(x);
}

}  // namespace mose::nn
