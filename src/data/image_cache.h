// Decoded tiles, kept as uint8 while there is room.
#pragma once

#include <filesystem>
#include <mutex>
#include <string>
#include <unordered_map>

#include "mose/vision/anyres.h"

namespace mose::data {

// Thread-safe. Epochs visit every image equally often, so what is in stays in: evicting would only
// decode the same number of images again.
class ImageCache {
 public:
  ImageCache(std::filesystem::path root, vision::PreprocessConfig config, double megabytes)
      : root_(std::move(root)), config_(std::move(config)), room_(megabytes * 1024 * 1024) {}

  // Relative to the root; an image always has the same layout. DataError as vision::load_tiles throws.
  vision::Tiles get(const std::string& image, const vision::ImageLayout& layout);
  // Upright, from the header alone.
  vision::ImageSize size(const std::string& image);

 private:
  const std::filesystem::path root_;
  const vision::PreprocessConfig config_;
  std::mutex mutex_;
  double room_;  // bytes
  std::unordered_map<std::string, vision::Tiles> images_;
  std::unordered_map<std::string, vision::ImageSize> sizes_;
};

}  // namespace mose::data
