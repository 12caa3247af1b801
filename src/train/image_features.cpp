#include "mose/train/image_features.h"

namespace mose::train {

models::ImageFeatures image_features(models::VisionLanguageModel& model, const data::Batch& batch, bool recompute) {
  if (batch.features_BPD.defined()) return model.project(batch.features_BPD, batch.layouts);
  if (batch.pixels_BCHW.defined()) return model.encode_images(batch.pixels_BCHW, batch.layouts, recompute);
  return {};
}

}  // namespace mose::train
