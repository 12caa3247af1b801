// What a tower that does not learn makes of images, kept on disk. A key says all that the features follow from, so a file
// is never out of date, and processes and runs may share a folder.
//
//   FOLDER/ab/abcdef....safetensors   of the key "abcdef...": features [tiles, patches, D]
//
// Files are written beside and renamed. They hold a hash of their bytes; a damaged one is named in a warning and counts
// as missing.
#pragma once

#include <torch/types.h>

#include <atomic>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>

namespace mose::data {

// Thread-safe.
class FeatureStore {
 public:
  // Makes the folder; Error where that cannot be done.
  explicit FeatureStore(std::filesystem::path folder);

  // Undefined where the key has no whole file.
  torch::Tensor find(const std::string& key);
  // Error that names the file, for example when the disk is full.
  void put(const std::string& key, const torch::Tensor& features);

  std::filesystem::path file(const std::string& key) const;
  const std::filesystem::path& folder() const { return folder_; }
  // So far, by this process.
  int64_t read() const { return read_; }
  int64_t written() const { return written_; }
  int64_t damaged() const { return damaged_; }

 private:
  const std::filesystem::path folder_;
  std::atomic<int64_t> read_{0}, written_{0}, damaged_{0};
};

// Features in place of pixels, as a loader takes them.
struct FeatureCache {
  std::shared_ptr<FeatureStore> store;
  std::string tower;  // names the tower, its weights and how it computes
  // The features [N, patches, D] of an image's tiles [N, 3, H, W] (normalised, on the CPU), on the CPU. Called by the thread
  // that takes batches.
  std::function<torch::Tensor(const torch::Tensor& tiles_NCHW)> compute;
};

}  // namespace mose::data
