#include "mose/io/compare.h"

#include <torch/torch.h>

#include <algorithm>
#include <limits>
#include <set>

#include "mose/core/strings.h"

namespace mose::io {
namespace {

using torch::Tensor;

TensorDifference values(const std::string& name, const Tensor& a, const Tensor& b) {
  TensorDifference out{name, "values", "", "", 0, a.numel(), 0};
  const auto x = a.to(torch::kFloat64), y = b.to(torch::kFloat64);
  const auto same = (x == y) | (x.isnan() & y.isnan());
  out.changed = same.logical_not().sum().item<int64_t>();
  if (out.changed == 0) return out;
  // Where one side is not finite and the other differs, no number says how far apart they are.
  const auto gap = (x - y).abs().masked_fill(same, 0).nan_to_num(std::numeric_limits<double>::infinity());
  out.largest = gap.max().item<double>();
  return out;
}

}  // namespace

std::vector<TensorDifference> compare_weights(const StateDict& a, const StateDict& b) {
  std::set<std::string> names;
  for (const auto& name : a.names()) names.insert(name);
  for (const auto& name : b.names()) names.insert(name);
  std::vector<TensorDifference> out;
  for (const auto& name : names) {
    if (!b.has(name)) {
      out.push_back({name, "only in A"});
    } else if (!a.has(name)) {
      out.push_back({name, "only in B"});
    } else {
      const Tensor x = a.get(name), y = b.get(name);
      if (x.sizes() != y.sizes()) {
        out.push_back({name, "shape", mose::str(x.sizes()), mose::str(y.sizes())});
      } else if (x.scalar_type() != y.scalar_type()) {
        out.push_back({name, "type", mose::str(x.scalar_type()), mose::str(y.scalar_type())});
      } else if (!at::equal(x, y)) {  // the plain test spares equal tensors their float64 copies
        if (auto difference = values(name, x, y); difference.changed > 0) out.push_back(std::move(difference));
      }
    }
  }
  return out;
}

}  // namespace mose::io
