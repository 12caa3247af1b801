// What the routers share, and the one list of them.
#pragma once

#include <memory>

#include "mose/moe/layer.h"

namespace mose::moe {

// x W^T in float32, whatever the types of x and W and with autocast shut out.
torch::Tensor linear_float32(const torch::Tensor& x_TD, const torch::Tensor& weight_ED);

// A new [rows, D] weight drawn from U(-1/sqrt(D), 1/sqrt(D)).
torch::Tensor router_weight(int64_t rows, int64_t width);

// Fills weights_TK and experts_TK from probabilities_TE.
void choose_experts(Routing& routing, const Config& config);
// The same, and probabilities_TE, from logits_TE: on a GPU in one kernel.
void choose_by_softmax(Routing& routing, const Config& config);

std::shared_ptr<Router> make_topk_router(const Config& config, int64_t width, const SkillMap& map);
std::shared_ptr<Router> make_skill_router(const Config& config, int64_t width, const SkillMap& map);
std::shared_ptr<Router> make_deepspeed_router(const Config& config, int64_t width, const SkillMap& map);
std::shared_ptr<Router> make_hierarchical_router(const Config& config, int64_t width, const SkillMap& map);

}  // namespace mose::moe
