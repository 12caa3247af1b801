#include <ATen/autocast_mode.h>

#include <array>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/inference.h"
#include "mose/nn/init.h"
#include "moe/router_parts.h"
#include "nn/cpu/few_rows.h"
#include "nn/cpu/tensors.h"

namespace mose::moe {
namespace {

struct Registration {
  const char* name;
  std::shared_ptr<Router> (*make)(const Config&, int64_t, const SkillMap&);
};

constexpr std::array kRouters{
    Registration{"topk", make_topk_router},
    Registration{"skill", make_skill_router},
    Registration{"hierarchical_skill", make_hierarchical_router},
    Registration{"deepspeed095", make_deepspeed_router},
};

}  // namespace

std::vector<std::string> router_names() {
  std::vector<std::string> names;
  for (const Registration& r : kRouters) names.emplace_back(r.name);
  return names;
}

std::shared_ptr<Router> make_router(const Config& config, int64_t width, const SkillMap& map) {
  check_config(config);
  if (width < 1) throw UsageError(str("moe: router of width ", width, ": expected at least 1"));
  for (const Registration& r : kRouters) {
    if (config.router == r.name) return r.make(config, width, map);
  }
  throw UsageError(str("moe: router = \"", config.router, "\": expected one of ", join(router_names(), ", ")));
}

torch::Tensor linear_float32(const torch::Tensor& x_TD, const torch::Tensor& weight_ED) {
  const c10::impl::ExcludeDispatchKeyGuard no_autocast(c10::autocast_dispatch_keyset);
  const bool few = nn::cpu::has_kernels(x_TD) && x_TD.scalar_type() == weight_ED.scalar_type() && x_TD.is_contiguous() &&
                   weight_ED.is_contiguous() && x_TD.size(0) > 0 && x_TD.size(0) <= nn::cpu::kFewRows;
  if (few && !nn::needs_gradient(x_TD, weight_ED)) {
    const torch::Tensor logits = nn::empty({x_TD.size(0), weight_ED.size(0)}, x_TD.options().dtype(torch::kFloat32));
    nn::cpu::multiply(x_TD, weight_ED, logits);
    return logits;
  }
  return at::linear(x_TD.to(torch::kFloat32), weight_ED.to(torch::kFloat32));
}

torch::Tensor router_weight(int64_t rows, int64_t width) {
  const double bound = 1.0 / std::sqrt(static_cast<double>(width));
  return nn::uniform({rows, width}, bound);
}

}  // namespace mose::moe
