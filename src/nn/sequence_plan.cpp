#include "mose/nn/sequence_plan.h"

#include <torch/torch.h>

#include <algorithm>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"

namespace mose::nn {

SequencePlan make_plan(const std::vector<int64_t>& lengths, torch::Device device,
                       const std::vector<int64_t>& starts) {
  if (!starts.empty() && starts.size() != lengths.size()) {
    throw Error(str("make_plan: ", starts.size(), " starts for ", lengths.size(), " sequences"));
  }
  SequencePlan plan;
  plan.offsets = {0};
  std::vector<int64_t> positions;
  for (size_t n = 0; n < lengths.size(); ++n) {
    if (lengths[n] <= 0) throw Error(str("make_plan: sequence ", n, " has length ", lengths[n]));
    plan.offsets.push_back(plan.offsets.back() + lengths[n]);
    plan.longest = std::max(plan.longest, lengths[n]);
    for (int64_t i = 0; i < lengths[n]; ++i) positions.push_back((starts.empty() ? 0 : starts[n]) + i);
  }
  plan.positions_T = host_indices(positions).to(device);
  return plan;
}

}  // namespace mose::nn
