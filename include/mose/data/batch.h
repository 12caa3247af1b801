// A batch as the model takes it: one packed stream of tokens, its images, and everything the losses need.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "mose/moe/routing.h"
#include "mose/nn/sequence_plan.h"
#include "mose/vision/image_layout.h"

namespace mose::data {

struct Batch {
  torch::Tensor tokens_T;     // int64; an image occupies layout.rows() rows of the image token
  nn::SequencePlan plan;
  torch::Tensor pixels_BCHW;  // float32, normalised: the tiles of all images in the order of their placeholders; may be undefined
  torch::Tensor features_BPD;  // or, in their place, what a frozen tower makes of those tiles (data/feature_store.h)
  std::vector<vision::ImageLayout> layouts;  // of each image
  torch::Tensor targets_T;    // int64: the token that row t must predict, -100 where nothing is supervised
  torch::Tensor segments_T;   // int64: stage of the *target* token (0 describe, ...), -1 outside any segment
  moe::RouterLabels labels;   // of the row's own token
  torch::Tensor region_BPC;   // float32 0/1: category c covers patch p of image b; undefined without region targets
  torch::Tensor row_words_3N;    // int64: (image of the batch, its row, token of the description of an object there)
  torch::Tensor scene_words_2N;  // int64: (image of the batch, token of the picture's description)
  std::vector<std::string> ids;  // the samples' ids
  std::vector<int64_t> images;   // images of each sample (0 or 1), in the order of the samples
  std::vector<int64_t> targets;  // rows with a target of each sample; their sum is `supervised`
  int64_t samples = 0;
  int64_t supervised = 0;     // rows with a target

  int64_t image_count() const { return static_cast<int64_t>(layouts.size()); }
};

// The same batch with its tensors on `device` (offsets stay on the host).
Batch to_device(const Batch& batch, torch::Device device);
// And in page-locked memory (CUDA only), from which to_device returns before the copies are done.
Batch pinned(const Batch& batch);

// Samples [begin, end) of a batch as a batch of its own, for gradient accumulation. Tensors but the
// positions are views. Error when the range is empty or outside the batch.
Batch slice_samples(const Batch& batch, int64_t begin, int64_t end);

}  // namespace mose::data
