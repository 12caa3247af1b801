#include <algorithm>
#include <cstdio>

#include "io/safetensors_header.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/json.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::io {
namespace {

namespace fs = std::filesystem;

using Type = std::optional<at::ScalarType>;

uint64_t checked_bytes(const std::string& name, const torch::Tensor& tensor, Type type = {}) {
  if (name == "__metadata__") throw Error("safetensors: a tensor cannot be named __metadata__");
  if (!tensor.defined()) throw Error(mose::str("safetensors: tensor \"", name, "\" is undefined"));
  if (tensor.layout() != torch::kStrided || tensor.is_quantized() || tensor.is_meta()) {
    throw Error(mose::str("safetensors: tensor \"", name, "\" has no plain data (", tensor.toString(), ")"));
  }
  const at::ScalarType written = type.value_or(tensor.scalar_type());
  type_name(written, name);
  uint64_t bytes = 0;
  if (!tensor_bytes(written, tensor.sizes().vec(), bytes)) {
    throw Error(mose::str("safetensors: tensor \"", name, "\" of shape ", tensor.sizes(), " is too large"));
  }
  return bytes;
}

// The tensor's bytes in order, as `type`, piece by piece: where they are not in memory as they are to be
// written, no more than a piece (or one row) is ever copied.
template <class Take>
void for_each_piece(const torch::Tensor& tensor, Type type, Take&& take) {
  constexpr int64_t kPieceBytes = int64_t{4} << 20;
  const int64_t rows = tensor.dim() == 0 ? 1 : tensor.size(0);
  if (tensor.numel() == 0) return;
  const int64_t step = std::max<int64_t>(1, kPieceBytes / static_cast<int64_t>(tensor.nbytes() / static_cast<size_t>(rows) + 1));
  for (int64_t row = 0; row < rows; row += step) {
    const torch::Tensor piece = tensor.dim() == 0 ? tensor : tensor.narrow(0, row, std::min(step, rows - row));
    const torch::Tensor here = piece.detach().resolve_conj().resolve_neg().to(torch::kCPU);
    const torch::Tensor plain = (type ? here.to(*type) : here).contiguous();
    take(plain.const_data_ptr(), plain.nbytes());
  }
}

// Writes all but the last step, the rename.
void write_tensors(AtomicFile& out, const TensorMap& tensors, const std::map<std::string, std::string>& metadata,
                   Type type) {
  std::vector<TensorEntry> entries;
  for (const auto& [name, tensor] : tensors) {
    checked_bytes(name, tensor, type);
    entries.push_back({name, type.value_or(tensor.scalar_type()), tensor.sizes().vec(), 0, 0});
  }
  // Wide types first, so that every tensor is aligned to its type without holes between them.
  std::stable_sort(entries.begin(), entries.end(), [](const TensorEntry& a, const TensorEntry& b) {
    return c10::elementSize(a.type) > c10::elementSize(b.type);
  });
  uint64_t at = 0;
  for (TensorEntry& entry : entries) {
    entry.begin = at;
    entry.end = at += checked_bytes(entry.name, tensors.at(entry.name), type);
  }
  out.write(build_header(entries, metadata));
  for (const TensorEntry& entry : entries) {
    for_each_piece(tensors.at(entry.name), type, [&](const void* data, size_t size) { out.write(data, size); });
  }
}

// Renaming over a device or a directory would replace it.
void check_target(const fs::path& file) {
  std::error_code code;
  if (fs::exists(file, code) && !fs::is_regular_file(file, code)) {
    throw Error(mose::str(file.string(), ": cannot write: not a regular file"));
  }
}

void save_file(const fs::path& file, const TensorMap& tensors, const std::map<std::string, std::string>& metadata,
               Type type) {
  check_target(file);
  AtomicFile out(file);
  write_tensors(out, tensors, metadata, type);
  out.commit();
}

// The shards that an index left by an earlier save names.
std::vector<std::string> old_shards(const fs::path& index) {
  std::vector<std::string> out;
  std::error_code code;
  if (!fs::exists(index, code)) return out;
  try {
    const Json json = load_json(index);
    for (const auto& [name, shard] : json_object(json, "weight_map", index.string()).items()) {
      const std::string file = shard.is_string() ? shard.get<std::string>() : "";
      // Only names that save_sharded gives.
      if (file.rfind("model-", 0) == 0 && file.find('/') == std::string::npos) out.push_back(file);
    }
  } catch (const DataError&) {
    // A broken index is about to be replaced; its shards are unknown.
  }
  return out;
}

}  // namespace

void save_safetensors(const fs::path& file, const TensorMap& tensors,
                      const std::map<std::string, std::string>& metadata) {
  save_file(file, tensors, metadata, {});
}

void save_sharded(const fs::path& dir, const TensorMap& tensors, int64_t shard_bytes, Type type) {
  if (shard_bytes <= 0) throw UsageError(mose::str("safetensors: shard_bytes = ", shard_bytes, ": expected more than 0"));
  const std::map<std::string, std::string> metadata{{"format", "pt"}};  // transformers asks for it
  const fs::path single = dir / "model.safetensors", index = dir / "model.safetensors.index.json";
  std::vector<TensorMap> shards(1);
  uint64_t total = 0, filled = 0;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t bytes = checked_bytes(name, tensor, type);
    if (filled > 0 && filled + bytes > static_cast<uint64_t>(shard_bytes)) {
      shards.emplace_back();
      filled = 0;
    }
    shards.back().emplace(name, tensor);
    filled += bytes;
    total += bytes;
  }
  std::vector<std::string> stale = old_shards(index);
  if (shards.size() == 1) {
    save_file(single, shards[0], metadata, type);
    stale.push_back(index.filename().string());
  } else {
    // Every shard is on disk before the first is renamed, so a full disk changes nothing.
    std::vector<std::unique_ptr<AtomicFile>> files;
    Json map = Json::object();
    for (size_t i = 0; i < shards.size(); ++i) {
      char name[64];
      std::snprintf(name, sizeof name, "model-%05zu-of-%05zu.safetensors", i + 1, shards.size());
      check_target(dir / name);
      files.push_back(std::make_unique<AtomicFile>(dir / name));
      write_tensors(*files.back(), shards[i], metadata, type);
      for (const auto& [tensor_name, tensor] : shards[i]) map[tensor_name] = name;
      stale.erase(std::remove(stale.begin(), stale.end(), name), stale.end());
    }
    for (const auto& file : files) file->commit();
    save_json(index, {{"metadata", {{"total_size", total}}}, {"weight_map", std::move(map)}});
    stale.push_back(single.filename().string());
  }
  // Last, so that a reader always finds a whole model; readers prefer model.safetensors.
  for (const std::string& name : stale) {
    std::error_code code;
    fs::remove(dir / name, code);
  }
}

std::string hash_tensors(const TensorMap& tensors) {
  Sha256 hash;
  for (const auto& [name, tensor] : tensors) {
    const uint64_t bytes = checked_bytes(name, tensor);
    // JSON ends by itself, so no two maps of tensors give the same stream.
    hash.update(Json{name, type_name(tensor.scalar_type(), name), tensor.sizes().vec(), bytes}.dump(
        -1, ' ', false, Json::error_handler_t::replace));
    for_each_piece(tensor, {}, [&](const void* data, size_t size) { hash.update(data, size); });
  }
  return hash.hex();
}

}  // namespace mose::io
