// Which patches of an image show which category: targets for a detection head on the vision tower.
#pragma once

#include <torch/types.h>

#include <string>
#include <vector>

#include "mose/skills/dataset.h"
#include "mose/vision/preprocess.h"

namespace mose::data {

// The tower's patches, rows from the top; no categories means no region targets. `merge` patches in
// each direction make one image row of the decoder.
struct RegionGrid {
  std::vector<std::string> categories;
  int64_t height = 0, width = 0, merge = 1;

  int64_t patches() const { return height * width; }
};

// The cells of a grid of height x width over the frame that an object covers, in rising order: those
// whose centre lies within its box, and the one that holds the box's centre (so that small boxes count).
// The box is mapped from the original image to the frame; of one that the frame's crop cut off there
// may be none.
std::vector<int64_t> covered_cells(const coda::Box& box, int64_t height, int64_t width,
                                   const vision::ImageSize& original, const vision::PreprocessConfig& config);

// float32 [P, C] of 0 and 1: patch p is 1 for category c when an object of c covers it. Objects of
// categories not listed have no target.
torch::Tensor region_targets(const std::vector<skills::RegionTarget>& objects, const RegionGrid& grid,
                             const vision::ImageSize& original,
                             const vision::PreprocessConfig& config);

}  // namespace mose::data
