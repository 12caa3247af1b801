#include "mose/data/feature_store.h"

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/io/safetensors.h"

namespace mose::data {
namespace {

constexpr const char* kFeatures = "features";

}  // namespace

FeatureStore::FeatureStore(std::filesystem::path folder) : folder_(std::move(folder)) { make_directories(folder_); }

std::filesystem::path FeatureStore::file(const std::string& key) const {
  return folder_ / key.substr(0, 2) / (key + ".safetensors");
}

torch::Tensor FeatureStore::find(const std::string& key) {
  const auto path = file(key);
  if (!std::filesystem::exists(path)) return {};
  try {
    const auto dict = io::StateDict::open(path);
    const torch::Tensor features = dict.get(kFeatures);
    const auto value = [&](const char* name) {
      const auto found = dict.metadata().find(name);
      return found == dict.metadata().end() ? std::string() : found->second;
    };
    if (value("key") != key) throw DataError(str(path.string(), ": its key is \"", value("key"), "\""));
    if (value("sha256") != io::hash_tensors({{kFeatures, features}})) throw DataError(str(path.string(), ": its bytes are not those that were written"));
    ++read_;
    return features;
  } catch (const DataError& error) {
    ++damaged_;
    log::warn("feature cache: ", error.what(), "; the features are computed again");
    return {};
  }
}

void FeatureStore::put(const std::string& key, const torch::Tensor& features) {
  const io::TensorMap tensors{{kFeatures, features}};
  io::save_safetensors(file(key), tensors, {{"key", key}, {"sha256", io::hash_tensors(tensors)}});
  ++written_;
}

}  // namespace mose::data
