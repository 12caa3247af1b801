#include "bench/scene_questions.h"

#include <algorithm>

#include "mose/core/strings.h"
#include "mose/skills/prepare.h"
#include "scenes/wording.h"

namespace mose::bench {

std::vector<SceneSample> scene_samples(const skills::Taxonomy& taxonomy, uint64_t seed, int64_t scenes) {
  const skills::Annotator annotator(taxonomy);
  skills::PrepareOptions options;
  options.regions = false;
  std::vector<SceneSample> out;
  for (int64_t s = 0; s < scenes; ++s) {
    const auto scene = scenes::sample_scene(seed, str("turns_", s), 1280, 720);
    const auto annotation = scenes::word_scene(scene, seed, std::vector<std::array<double, 4>>(scene.objects.size(), {100, 100, 50, 50}));
    const auto first = out.size();
    for (const auto& sample : skills::make_samples(annotation, annotator, options)) {
      out.push_back({static_cast<size_t>(s), sample.form, sample.question, sample.answer});
    }
    std::stable_partition(out.begin() + static_cast<int64_t>(first), out.end(), [](const auto& x) { return x.form == "single_turn"; });
  }
  return out;
}

}  // namespace mose::bench
