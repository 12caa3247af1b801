// Controls on the labels of training samples: fewer of them, or wrong ones.
#pragma once

#include <cstdint>

#include "mose/core/config.h"
#include "mose/skills/dataset.h"

namespace mose::skills {

struct LabelControls {
  double share = 1;  // of the samples that keep their labels; the others lose all of theirs
  double noise = 0;  // share of the labels that say a class drawn uniformly from all of their level; 1 = random labels

  void visit(FieldVisitor& v);
};

// A drawn skill brings its stage; a stage-level label gets a drawn stage. Spans, rules and confidences stay. What is
// drawn follows from (seed, sample.id) alone, so a sample has the same labels in every epoch and every process, and a
// larger share or noise changes the labels of a smaller one no further than it must.
void disturb_labels(Sample& sample, const Taxonomy& taxonomy, const LabelControls& controls, uint64_t seed);

}  // namespace mose::skills
