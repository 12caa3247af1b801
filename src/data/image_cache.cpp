#include "data/image_cache.h"

namespace mose::data {

vision::Tiles ImageCache::get(const std::string& image, const vision::ImageLayout& layout) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = images_.find(image);
    if (found != images_.end()) return found->second;
  }
  vision::Tiles loaded = vision::load_tiles(root_ / image, config_, layout);
  const auto bytes = static_cast<double>(loaded.pixels_NCHW.numel());
  const std::lock_guard lock(mutex_);
  if (room_ >= bytes && images_.emplace(image, loaded).second) room_ -= bytes;
  return loaded;
}

vision::ImageSize ImageCache::size(const std::string& image) {
  {
    const std::lock_guard lock(mutex_);
    const auto found = sizes_.find(image);
    if (found != sizes_.end()) return found->second;
  }
  const vision::ImageSize size = vision::image_size(root_ / image);
  const std::lock_guard lock(mutex_);
  sizes_.emplace(image, size);
  return size;
}

}  // namespace mose::data
