// Weights in a file or a directory, whatever their format.
#include <set>

#include "io/weight_files.h"
#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::io {

namespace fs = std::filesystem;

namespace {

// In the order in which a directory is searched.
struct Form {
  const char* name;
  bool index;
};
constexpr Form kForms[] = {{"model.safetensors", false},
                           {"model.safetensors.index.json", true},
                           {"pytorch_model.bin.index.json", true},
                           {"pytorch_model.bin", false}};

// Which shard holds which tensor. Shards are plain file names, so none is outside the directory.
std::map<std::string, std::set<std::string>> read_index(const fs::path& index) {
  const Json json = load_json(index);
  std::map<std::string, std::set<std::string>> shards;
  for (const auto& [name, shard] : json_object(json, "weight_map", index.string()).items()) {
    const std::string where = mose::str(index.string(), ": weight_map[\"", name, "\"]");
    if (!shard.is_string()) throw DataError(mose::str(where, ": expected a file name"));
    const std::string file = shard.get<std::string>();
    if (file.empty() || file == "." || file == ".." || file.find_first_of(std::string("/\\\0", 3)) != std::string::npos) {
      throw DataError(mose::str(where, " = ", shard.dump(), ": expected the plain name of a file in the same directory"));
    }
    shards[file].insert(name);
  }
  return shards;
}

// The file behind a shard's name. A link may lead elsewhere, for which an index is not to be trusted; but in
// the cache of Hugging Face every file is a link from snapshots/REVISION/ into blobs/ beside snapshots/.
fs::path shard_file(const fs::path& dir, const std::string& shard, const char* index) {
  std::error_code code;
  const fs::path file = dir / shard;
  if (!fs::exists(file, code)) throw DataError(mose::str(file.string(), ": no such file, but ", index, " names it"));
  const fs::path real = fs::canonical(file, code), home = fs::canonical(dir, code);
  if (real.parent_path() != home && real.parent_path() != home.parent_path().parent_path() / "blobs") {
    throw DataError(mose::str(file.string(), ": ", index, " names it, but it is a link to ", real.string(), ", outside the directory"));
  }
  return file;
}

WeightFile read_weights(const fs::path& path) {
  const auto file = std::make_shared<MappedFile>(path);
  const bool torch = is_torch(file->bytes()) || path.extension() == ".bin";
  return torch ? read_torch(file) : read_safetensors(file);
}

}  // namespace

StateDict StateDict::open(const fs::path& path) {
  StateDict out;
  auto add = [&out](WeightFile file) {
    out.tensors_.merge(file.tensors);
    for (const auto& [key, value] : file.metadata) out.metadata_[key] = value;
  };
  std::error_code code;
  if (!fs::is_directory(path, code)) {
    if (!fs::exists(path, code)) throw DataError(mose::str(path.string(), ": no such file"));
    add(read_weights(path));
    return out;
  }
  for (const auto& [form, index] : kForms) {
    if (!fs::exists(path / form, code)) continue;
    if (!index) {
      add(read_weights(path / form));
      return out;
    }
    for (const auto& [shard, wanted] : read_index(path / form)) {
      const fs::path name = shard_file(path, shard, form);
      WeightFile file = read_weights(name);
      for (const std::string& tensor : wanted) {
        if (!file.tensors.count(tensor)) {
          throw DataError(mose::str(name.string(), ": lacks the tensor \"", tensor, "\" that ", form, " promises"));
        }
      }
      const size_t unnamed = std::erase_if(file.tensors, [&](const auto& item) { return !wanted.count(item.first); });
      if (unnamed > 0) log::warn(name.string(), ": ", unnamed, " tensors are not in ", form, " and are left out");
      add(std::move(file));
    }
    return out;
  }
  throw DataError(mose::str(path.string(), ": has neither model.safetensors nor pytorch_model.bin, nor the index of either"));
}

std::vector<std::string> StateDict::names() const {
  std::vector<std::string> out;
  for (const auto& [name, tensor] : tensors_) out.push_back(name);
  return out;
}

bool StateDict::has(const std::string& name) const { return tensors_.count(name) > 0; }

torch::Tensor StateDict::get(const std::string& name) const {
  const auto it = tensors_.find(name);
  if (it != tensors_.end()) return it->second;
  const std::string near = nearest_name(name, names());
  throw DataError(mose::str("the weights lack \"", name, "\"", near.empty() ? "" : "; the nearest name is \"" + near + "\""));
}

}  // namespace mose::io
