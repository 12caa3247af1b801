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

// The dense twin: on the layers that `moe` would make sparse, the FFN becomes top_k times as wide by
// copying it top_k times, so it activates as many parameters as the sparse model (routers aside).
// Each hidden unit's output weights are divided over its copies in random shares (Net2Net; Chen et
// al., 2016): the sum is unchanged, and the copies get different gradients, so they part in training.
std::shared_ptr<VisionLanguageModel> widen(const VisionLanguageModel& dense, const moe::Config& moe,
                                           uint64_t seed);

}  // namespace mose::models
