#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <set>

#include "io/safetensors_header.h"
#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::io {

namespace fs = std::filesystem;

struct StateDict::Mapping {
  explicit Mapping(const fs::path& file) {
    const int descriptor = ::open(file.c_str(), O_RDONLY | O_CLOEXEC);
    if (descriptor < 0) throw DataError(mose::str(file.string(), ": cannot open: ", std::strerror(errno)));
    struct stat status {};
    const bool regular = ::fstat(descriptor, &status) == 0 && S_ISREG(status.st_mode);
    size = regular ? static_cast<size_t>(status.st_size) : 0;
    if (size > 0) {
      // Private and writable: a tensor changed in place changes its own pages, never the file.
      data = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    }
    const int error = errno;
    ::close(descriptor);
    if (!regular) throw DataError(mose::str(file.string(), ": not a regular file"));
    if (data == MAP_FAILED) throw DataError(mose::str(file.string(), ": cannot map: ", std::strerror(error)));
  }
  ~Mapping() {
    if (data && data != MAP_FAILED) ::munmap(data, size);
  }
  Mapping(const Mapping&) = delete;
  Mapping& operator=(const Mapping&) = delete;

  std::string_view bytes() const { return {static_cast<const char*>(data), size}; }

  void* data = nullptr;
  size_t size = 0;
};

namespace {

constexpr const char* kSingle = "model.safetensors";
constexpr const char* kIndex = "model.safetensors.index.json";

// A view of `data` that keeps `owner` alive. Data off its type's alignment is copied.
torch::Tensor view(const TensorEntry& entry, char* data, std::shared_ptr<void> owner, const std::string& where) {
  if (entry.begin == entry.end) return torch::empty(entry.shape, entry.type);
  if (entry.type == torch::kBool) {
    const char* bad = std::find_if(data, data + (entry.end - entry.begin), [](char c) { return c != 0 && c != 1; });
    if (bad != data + (entry.end - entry.begin)) {
      throw DataError(mose::str(where, ": tensor \"", entry.name, "\": element ", bad - data, " is no BOOL but ",
                                static_cast<int>(static_cast<unsigned char>(*bad))));
    }
  }
  if (reinterpret_cast<uintptr_t>(data) % c10::elementSize(entry.type) != 0) {
    torch::Tensor copy = torch::empty(entry.shape, entry.type);
    std::memcpy(copy.mutable_data_ptr(), data, entry.end - entry.begin);
    return copy;
  }
  return torch::from_blob(data, entry.shape, [owner = std::move(owner)](void*) {}, entry.type);
}

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

}  // namespace

StateDict StateDict::open(const fs::path& path) {
  StateDict out;
  // Adds the tensors that `wanted` names, or all.
  auto add = [&out](const fs::path& file, const std::set<std::string>* wanted) {
    auto mapping = std::make_shared<Mapping>(file);
    const Header header = parse_header(mapping->bytes(), file.string());
    size_t found = 0;
    for (const TensorEntry& entry : header.tensors) {
      if (wanted && !wanted->count(entry.name)) continue;
      ++found;
      char* data = static_cast<char*>(mapping->data) + header.data_begin + entry.begin;
      out.tensors_[entry.name] = view(entry, data, mapping, file.string());
    }
    if (wanted && found != wanted->size()) {
      for (const std::string& name : *wanted) {
        if (!out.has(name)) throw DataError(mose::str(file.string(), ": lacks the tensor \"", name, "\" that ", kIndex, " promises"));
      }
    }
    if (found != header.tensors.size()) {
      log::warn(file.string(), ": ", header.tensors.size() - found, " tensors are not in ", kIndex, " and are left out");
    }
    for (const auto& [key, value] : header.metadata) out.metadata_[key] = value;
    out.mappings_.push_back(std::move(mapping));
  };
  std::error_code code;
  if (!fs::is_directory(path, code)) {
    if (!fs::exists(path, code)) throw DataError(mose::str(path.string(), ": no such file"));
    add(path, nullptr);
  } else if (fs::exists(path / kSingle, code)) {
    add(path / kSingle, nullptr);
  } else if (fs::exists(path / kIndex, code)) {
    for (const auto& [shard, names] : read_index(path / kIndex)) {
      if (!fs::exists(path / shard, code)) {
        throw DataError(mose::str((path / shard).string(), ": no such file, but ", kIndex, " names it"));
      }
      add(path / shard, &names);
    }
  } else {
    throw DataError(mose::str(path.string(), ": has neither ", kSingle, " nor ", kIndex));
  }
  return out;
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
