// The images of a batch as the model's decoder and heads take them.
#pragma once

#include "mose/data/batch.h"
#include "mose/models/vlm.h"

namespace mose::train {

// From the batch's pixels, or from its features of a frozen tower; nothing is defined for text alone. With `recompute` the
// tower's blocks run again in the backward pass.
models::ImageFeatures image_features(models::VisionLanguageModel& model, const data::Batch& batch, bool recompute = false);

}  // namespace mose::train
