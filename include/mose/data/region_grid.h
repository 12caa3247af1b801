// Which patches of an image show which category: targets for a detection head on the vision tower.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "mose/skills/dataset.h"
#include "mose/vision/preprocess.h"

namespace mose::data {

// The tower's patches before any merging, rows from the top; no categories means no region targets.
struct RegionGrid {
  std::vector<std::string> categories;
  int64_t height = 0, width = 0;

  int64_t patches() const { return height * width; }
};

// float32 [P, C] of 0 and 1. Patch p is 1 for category c when its centre lies within a box of c, or
// when it is the patch that holds such a box's centre (so that small boxes count). Boxes are mapped
// from the original image to the frame; one whose centre the frame's crop cut off has no such patch.
// Objects of categories not listed have no target.
torch::Tensor region_targets(const std::vector<skills::RegionTarget>& objects, const RegionGrid& grid,
                             const vision::ImageSize& original,
                             const vision::PreprocessConfig& config);

}  // namespace mose::data
