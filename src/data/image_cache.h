// Decoded frames, kept as uint8 while there is room.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <unordered_map>

#include "mose/vision/preprocess.h"

namespace mose::data {

// Thread-safe. Epochs visit every image equally often, so what is in stays in: evicting would only
// decode the same number of images again.
class ImageCache {
 public:
  ImageCache(std::filesystem::path root, vision::PreprocessConfig config, double megabytes)
      : root_(std::move(root)), config_(std::move(config)), room_(megabytes * 1024 * 1024) {}

  // Relative to the root. DataError as vision::load_image throws.
  vision::RawImage get(const std::string& image);
  // Upright, from the header alone.
  vision::ImageSize size(const std::string& image);

 private:
  const std::filesystem::path root_;
  const vision::PreprocessConfig config_;
  std::mutex mutex_;
  double room_;  // bytes
  std::unordered_map<std::string, vision::RawImage> images_;
  std::unordered_map<std::string, vision::ImageSize> sizes_;
};

}  // namespace mose::data
