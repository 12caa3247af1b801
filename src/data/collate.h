// From samples and their pixels to one packed batch.
#pragma once

#include <vector>

#include "mose/data/loader.h"

namespace mose::data {

// One sample with its image.
struct Item {
  const Encoded* sample = nullptr;
  bool has_image = false;
  torch::Tensor tiles_NCHW;  // float32, normalised; undefined where the batch gets features
  torch::Tensor region_PC;   // undefined without region targets
  std::vector<std::pair<int64_t, int64_t>> row_words;  // (image row, token of an object there)
};

// Concatenates the samples; every tensor is on the CPU. Features are not its business.
Batch collate(const std::vector<Item>& items, const LabelSizes& sizes);

}  // namespace mose::data
