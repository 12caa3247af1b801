#include "mose/skills/disturb.h"

#include "mose/core/random.h"

namespace mose::skills {

void LabelControls::visit(FieldVisitor& v) {
  v.field("share", share, "share of the training samples that keep their labels", 0, 1);
  v.field("noise", noise, "share of the training labels replaced by a uniformly drawn skill (stage-level: stage); 1 = random labels",
          0, 1);
}

void disturb_labels(Sample& sample, const Taxonomy& taxonomy, const LabelControls& controls, uint64_t seed) {
  if (controls.share >= 1 && controls.noise <= 0) return;
  RandomStream random(seed, "labels/" + sample.id);
  if (random.uniform() >= controls.share) sample.labels.clear();
  for (Label& label : sample.labels) {
    const bool wrong = random.uniform() < controls.noise;
    const auto classes = static_cast<int64_t>(label.skill >= 0 ? taxonomy.skills().size() : taxonomy.stages().size());
    const int64_t drawn = random.integer(0, classes - 1);
    if (!wrong) continue;
    if (label.skill >= 0) label.skill = drawn;
    label.stage = label.skill >= 0 ? taxonomy.skills()[static_cast<size_t>(drawn)].stage : drawn;
  }
}

}  // namespace mose::skills
