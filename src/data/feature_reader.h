// The images of samples as a frozen tower's features, from the store where it has them.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <vector>

#include "mose/data/feature_store.h"
#include "mose/vision/anyres.h"

namespace mose::data {

struct KeyedImage {
  torch::Tensor features_NPD;  // undefined where they have to be computed:
  torch::Tensor tiles_NCHW;    // from this, uint8
  std::string key;
  vision::ImageSize original;
};

class FeatureReader {
 public:
  FeatureReader(std::filesystem::path root, vision::PreprocessConfig preprocess, FeatureCache cache);

  // Thread-safe; the image is relative to the root. Its file is read when it is first asked for, to name its content, and
  // decoded where the store has no features of that. DataError as vision::load_tiles throws.
  KeyedImage get(const std::string& image, const vision::ImageLayout& layout);
  // All features of these images, one after another; what is missing is computed, each image by itself, and kept.
  torch::Tensor complete(const std::vector<KeyedImage>& images);

 private:
  std::string key_of(std::string_view bytes, const vision::ImageLayout& layout) const;

  const std::filesystem::path root_;
  const vision::PreprocessConfig preprocess_;
  const FeatureCache cache_;
  const std::string context_;  // what the features of all images follow from
  std::mutex mutex_;
  std::map<std::string, KeyedImage> known_;  // key and size by image
};

}  // namespace mose::data
