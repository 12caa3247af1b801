// The products of a training step, to be held against what the device can do.
#pragma once

#include "mose/data/batch.h"
#include "mose/models/vlm.h"

namespace mose::train {

// Floating-point operations (two a multiply-add) that training takes, by what they are counted over.
struct StepFlops {
  double row = 0, target = 0, tile = 0;  // of the decoder's stream; with a target (the head); seen by the tower

  double of(const data::Batch& batch) const;
};
// Of every matrix, for what it meets: once forward, once backward where something before it learns, once more where it learns
// itself; of experts the chosen ones. Not counted: attention's own products, adapters, what recomputation does again.
StepFlops step_flops(const models::VisionLanguageModel& model);

// What this process's device multiplies in a second, in the type that products have: the best of a few large ones.
double measure_peak_flops(torch::Device device, torch::ScalarType type);

}  // namespace mose::train
