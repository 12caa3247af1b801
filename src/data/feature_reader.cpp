#include "data/feature_reader.h"

#include <torch/torch.h>

#include "mose/core/config.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::data {
namespace {

// Part of every key; to be raised when the same image and preprocessing come to give other pixels.
constexpr int kVersion = 1;

}  // namespace

FeatureReader::FeatureReader(std::filesystem::path root, vision::PreprocessConfig preprocess, FeatureCache cache)
    : root_(std::move(root)), preprocess_(std::move(preprocess)), cache_(std::move(cache)),
      context_(Json{kVersion, cache_.tower, to_json_config(preprocess_)}.dump()) {}

std::string FeatureReader::key_of(std::string_view bytes, const vision::ImageLayout& layout) const {
  Sha256 hash;
  hash.update(context_);
  hash.update(str("\n", layout.tiles_across, " ", layout.tiles_down, "\n"));
  hash.update(bytes);
  return hash.hex();
}

KeyedImage FeatureReader::get(const std::string& image, const vision::ImageLayout& layout) {
  KeyedImage found;
  {
    const std::lock_guard lock(mutex_);
    const auto known = known_.find(image);
    if (known != known_.end()) found = known->second;
  }
  if (!found.key.empty()) found.features_NPD = cache_.store->find(found.key);
  if (found.features_NPD.defined()) return found;
  // Key and pixels are of the same bytes, whatever happens to the file meanwhile.
  const auto path = root_ / image;
  const std::string bytes = vision::read_image_file(path);
  const std::string key = key_of(bytes, layout);
  if (key != found.key) {
    found.original = vision::image_size(bytes, path.string());
    found.key = key;
    {
      const std::lock_guard lock(mutex_);
      known_[image] = found;
    }
    found.features_NPD = cache_.store->find(key);
  }
  if (!found.features_NPD.defined()) found.tiles_NCHW = vision::decode_tiles(bytes, path.string(), preprocess_, layout).pixels_NCHW;
  return found;
}

torch::Tensor FeatureReader::complete(const std::vector<KeyedImage>& images) {
  std::vector<torch::Tensor> all;
  for (const KeyedImage& image : images) {
    torch::Tensor features = image.features_NPD;
    if (!features.defined()) features = cache_.store->find(image.key);  // computed since, for another sample or process
    if (!features.defined()) {
      features = cache_.compute(vision::normalise(image.tiles_NCHW, preprocess_));
      cache_.store->put(image.key, features);
    }
    all.push_back(features);
  }
  return torch::cat(all);
}

}  // namespace mose::data
