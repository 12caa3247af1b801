// From a trained dense model to a sparse one that computes the same, and to its dense twin.
#pragma once

#include <memory>
#include <vector>

#include "mose/models/vlm.h"

namespace mose::models {

// The configs of what the two functions below make of a dense model; whether they can is theirs to check.
Config upcycled(Config dense, const moe::Config& moe);
Config widened(Config dense, const moe::Config& moe);

// Sparse upcycling (Komatsuzaki et al., 2023): every expert is a copy of the layer's FFN, and the
// top-K weights sum to 1, so the sparse model's output equals the dense one's. Routers are drawn
// anew from `seed`. UsageError when the model is sparse already or moe.intermediate differs from
// the dense FFN's width.
std::shared_ptr<VisionLanguageModel> upcycle(const VisionLanguageModel& dense, const moe::Config& moe,
                                             const skills::Taxonomy& taxonomy,
                                             const std::vector<double>& skill_mass, uint64_t seed);

// The dense twin: on the layers that `moe` would make sparse, the FFN becomes top_k times as wide, so it activates as
// many parameters as the sparse model (routers aside). The first units are the trained ones; the others have gates and
// inputs drawn from `seed` and output weights of zero, so the sum is unchanged and they learn something of their own
// (units copied from the trained ones, as Net2Net's, get nearly the same gradients and stay nearly copies). A step of
// Adam moves every unit's output alike, so the layer's moves top_k times as far: give down_proj a learning_rate_scale.
std::shared_ptr<VisionLanguageModel> widen(const VisionLanguageModel& dense, const moe::Config& moe,
                                           uint64_t seed);

}  // namespace mose::models
