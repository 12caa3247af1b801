// A scene in words: CODA-LM's texts from a small grammar.
#pragma once

#include "mose/coda/annotation.h"
#include "scenes/world.h"

namespace mose::scenes {

// Everything but file and image. The texts state exactly the scene's facts (eval/facts.h extracts
// them again), in wording varied by (seed, scene id). `boxes` are [x, y, w, h].
coda::Annotation word_scene(const Scene& scene, uint64_t seed,
                            const std::vector<std::array<double, 4>>& boxes);

}  // namespace mose::scenes
