// Questions about drawn scenes, with the answers that their annotations give.
#pragma once

#include <string>
#include <vector>

#include "mose/skills/taxonomy.h"

namespace mose::bench {

struct SceneSample {
  size_t scene = 0;
  std::string form;  // "single_turn", which comes first of a scene, or "multi_turn"
  std::string question, answer;
};

// Of the whole picture: a region has a picture of its own. The same for the same seed.
std::vector<SceneSample> scene_samples(const skills::Taxonomy& taxonomy, uint64_t seed, int64_t scenes);

}  // namespace mose::bench
