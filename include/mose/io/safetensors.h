// safetensors files: written atomically, read through a memory map, every header field checked.
#pragma once

#include <torch/types.h>

#include <filesystem>
#include <map>
#include <optional>
#include <string>
#include <vector>

namespace mose::io {

using TensorMap = std::map<std::string, torch::Tensor>;

// Writes one file. Tensors that are strided or elsewhere than on the CPU are copied piece by piece.
void save_safetensors(const std::filesystem::path& file, const TensorMap& tensors,
                      const std::map<std::string, std::string>& metadata = {});

inline constexpr int64_t kShardBytes = int64_t{4} << 30;

// A directory's weights: model.safetensors, or shards with model.safetensors.index.json when they
// are larger than shard_bytes. With `type` every tensor is converted to it, piece by piece.
void save_sharded(const std::filesystem::path& dir, const TensorMap& tensors,
                  int64_t shard_bytes = kShardBytes, std::optional<at::ScalarType> type = {});

// A mapped file or directory of files. Tensors are views of the map, never read whole: copy before
// changing them. DataError names the file, the tensor, and what is wrong: a truncated file, an offset
// outside it, overlapping or mis-sized data, an unknown type, a shard outside the directory.
class StateDict {
 public:
  // A file of safetensors or of PyTorch's torch.save, told apart by content; or a directory's
  // model.safetensors, else its index, else pytorch_model.bin.index.json, else pytorch_model.bin.
  // What torch.save wrote is a pickle: it is read without running any of it, and refused where it asks
  // for more than tensors by name. Data off its type's alignment (usual before torch 1.6) is copied.
  static StateDict open(const std::filesystem::path& file_or_dir);

  std::vector<std::string> names() const;  // sorted
  bool has(const std::string& name) const;
  torch::Tensor get(const std::string& name) const;  // DataError names the nearest known name
  const std::map<std::string, std::string>& metadata() const { return metadata_; }

 private:
  TensorMap tensors_;
  std::map<std::string, std::string> metadata_;
};

// SHA-256 over names, types, shapes and bytes in the order of names.
std::string hash_tensors(const TensorMap& tensors);

}  // namespace mose::io
