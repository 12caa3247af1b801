// From samples and their pixels to one packed batch.
#pragma once

#include <vector>

#include "mose/data/loader.h"

namespace mose::data {

// One sample with its image, normalised; tiles are undefined for a text-only sample.
struct Item {
  const Encoded* sample = nullptr;
  torch::Tensor tiles_NCHW;  // float32
  torch::Tensor region_PC;   // undefined without region targets
  std::vector<std::pair<int64_t, int64_t>> row_words;  // (image row, token of an object there)
};

// Concatenates the samples; every tensor is on the CPU.
Batch collate(const std::vector<Item>& items, const LabelSizes& sizes);

}  // namespace mose::data
