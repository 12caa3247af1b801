#include "mose/models/bundle.h"

#include <unistd.h>

#include <set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using torch::Tensor;

// "….mlp.experts.gate_up_proj" -> "….mlp.experts."
bool stacked(const std::string& name, const char* suffix, std::string& prefix) {
  const std::string end = std::string(".experts.") + suffix;
  if (name.size() < end.size() || name.compare(name.size() - end.size(), end.size(), end) != 0) return false;
  prefix = name.substr(0, name.size() - end.size()) + ".experts.";
  return true;
}

}  // namespace

io::TensorMap weights_for_file(const VisionLanguageModel& model) {
  io::TensorMap out;
  for (const auto& item : model.named_parameters()) {
    const Tensor value = item.value().detach();
    std::string prefix;
    if (stacked(item.key(), "gate_up_proj", prefix)) {
      const int64_t F = value.size(1) / 2;
      for (int64_t e = 0; e < value.size(0); ++e) {
        out[str(prefix, e, ".gate_proj.weight")] = value[e].narrow(0, 0, F);
        out[str(prefix, e, ".up_proj.weight")] = value[e].narrow(0, F, F);
      }
    } else if (stacked(item.key(), "down_proj", prefix)) {
      for (int64_t e = 0; e < value.size(0); ++e) out[str(prefix, e, ".down_proj.weight")] = value[e];
    } else {
      out[item.key()] = value;
    }
  }
  return out;
}

void load_weights(VisionLanguageModel& model, const io::StateDict& file) {
  const torch::NoGradGuard no_grad;
  std::set<std::string> used;
  // The views of weights_for_file share memory with the parameters: filling them fills the model.
  for (auto& [name, target] : weights_for_file(model)) {
    const Tensor source = file.get(name);
    if (source.sizes() != target.sizes()) {
      throw DataError(mose::str("weights: tensor \"", name, "\": expected shape ", target.sizes(), ", found ", source.sizes()));
    }
    Tensor(target).copy_(source);
    used.insert(name);
  }
  for (const auto& name : file.names()) {
    if (!used.count(name)) {
      throw DataError(str("weights: tensor \"", name, "\" has no place in this model (config.json does not fit)"));
    }
  }
}

void save_bundle(const fs::path& dir, const Bundle& bundle) {
  fs::path beside = dir;
  beside += str(".tmp.", ::getpid());
  fs::remove_all(beside);
  make_directories(beside);
  Json config;
  config["model_type"] = "mose";
  config["torch_dtype"] = bundle.model->parameters().front().dtype() == torch::kBFloat16 ? "bfloat16" : "float32";
  config.update(to_json_config(bundle.model->config()));
  save_json(beside / "config.json", config);
  io::save_sharded(beside, weights_for_file(*bundle.model));
  bundle.tokenizer.save(beside);
  vision::save_preprocess(beside, bundle.preprocess);
  save_json(beside / "skills.json", bundle.taxonomy.to_json());
  // rename() cannot replace a directory with content: the old one steps aside first.
  fs::path old = dir;
  old += str(".old.", ::getpid());
  std::error_code code;
  if (fs::exists(dir)) fs::rename(dir, old);
  fs::rename(beside, dir, code);
  if (code) throw Error(str(dir.string(), ": cannot rename into place: ", code.message()));
  fs::remove_all(old);
}

Bundle load_bundle(const fs::path& dir) {
  const fs::path config_file = dir / "config.json";
  Json json = load_json(config_file);
  if (!json.is_object() || json.value("model_type", "") != "mose") {
    throw DataError(str(config_file.string(), ": \"model_type\": expected \"mose\""));
  }
  json.erase("model_type");
  const std::string dtype = json.value("torch_dtype", "float32");
  json.erase("torch_dtype");
  Bundle bundle{nullptr, text::Tokenizer::load(dir), vision::load_preprocess(dir),
                skills::Taxonomy::load(dir / "skills.json")};
  try {
    Config config;
    from_json_config(config, json, config_file.string());
    bundle.model = make_model(config, 0, &bundle.taxonomy);
  } catch (const UsageError& e) {
    throw DataError(e.what());  // a model directory is data, not the user's command line
  }
  if (dtype == "bfloat16") bundle.model->to(torch::kBFloat16);
  try {
    load_weights(*bundle.model, io::StateDict::open(dir));
  } catch (const DataError& e) {
    throw DataError(str(dir.string(), ": ", e.what()));
  }
  return bundle;
}

}  // namespace mose::models
