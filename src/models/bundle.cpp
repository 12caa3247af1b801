#include "mose/models/bundle.h"

#include <unistd.h>

#include <set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/nn/init.h"

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

namespace {

// Only an empty folder or an earlier model is replaced: anything else may be somebody's work.
void check_replaceable(const fs::path& dir) {
  std::error_code code;
  if (!fs::exists(dir, code)) return;
  const bool replaceable = fs::is_directory(dir, code) &&
                           (fs::is_empty(dir, code) || (fs::is_regular_file(dir / "config.json", code) &&
                                                        fs::is_regular_file(dir / "skills.json", code)));
  if (!replaceable) {
    throw UsageError(str(dir.string(), ": expected a new or empty folder, or a model to replace; found something else, which stays"));
  }
}

void write_files(const fs::path& dir, const Bundle& bundle, const io::TensorMap& weights) {
  Json config;
  config["model_type"] = "mose";
  config["torch_dtype"] = weights.begin()->second.dtype() == torch::kBFloat16 ? "bfloat16" : "float32";
  config.update(to_json_config(bundle.model->config()));
  save_json(dir / "config.json", config);
  io::save_sharded(dir, weights);
  bundle.tokenizer.save(dir);
  vision::save_preprocess(dir, bundle.preprocess);
  save_json(dir / "skills.json", bundle.taxonomy.to_json());
}

}  // namespace

void save_bundle(const fs::path& folder, const Bundle& bundle) {
  save_bundle(folder, bundle, weights_for_file(*bundle.model));
}

void save_bundle(const fs::path& folder, const Bundle& bundle, const io::TensorMap& weights) {
  fs::path dir = fs::absolute(folder).lexically_normal();
  if (!dir.has_filename()) dir = dir.parent_path();  // a trailing slash
  check_replaceable(dir);
  make_directories(dir.parent_path());
  fs::path beside = dir;
  beside += str(".tmp.", ::getpid());
  write_folder(beside, [&] { write_files(beside, bundle, weights); });
  // rename() cannot replace a directory with content: the old one steps aside first.
  fs::path old = dir;
  old += str(".old.", ::getpid());
  std::error_code code;
  if (fs::exists(dir)) fs::rename(dir, old, code);
  if (!code) fs::rename(beside, dir, code);
  if (code) throw Error(str(dir.string(), ": cannot rename into place: ", code.message()));
  fs::remove_all(old, code);
}

ModelHeader load_header(const fs::path& dir) {
  const std::string file = (dir / "config.json").string();
  Json json = load_json(file);
  if (json_string(json, "model_type", file) != "mose") throw DataError(file + ": \"model_type\": expected \"mose\"");
  ModelHeader header;
  const std::string dtype = json_string(json, "torch_dtype", file);
  if (dtype != "float32" && dtype != "bfloat16") {
    throw DataError(str(file, ": \"torch_dtype\": expected float32 or bfloat16, found \"", dtype, "\""));
  }
  header.dtype = dtype == "bfloat16" ? torch::kBFloat16 : torch::kFloat32;
  json.erase("model_type");
  json.erase("torch_dtype");
  try {
    from_json_config(header.config, json, file);
  } catch (const UsageError& e) {
    throw DataError(e.what());  // a model directory is data, not the user's command line
  }
  return header;
}

Bundle load_bundle(const fs::path& dir) {
  const ModelHeader header = load_header(dir);
  Bundle bundle{nullptr, text::Tokenizer::load(dir), vision::load_preprocess(dir),
                skills::Taxonomy::load(dir / "skills.json")};
  try {
    const nn::InitGuard filled_below(nn::Init::kEmpty);
    bundle.model = make_model(header.config, 0, &bundle.taxonomy);
  } catch (const UsageError& e) {
    throw DataError(str((dir / "config.json").string(), ": ", e.what()));
  }
  bundle.model->to(header.dtype);
  try {
    load_weights(*bundle.model, io::StateDict::open(dir));
  } catch (const DataError& e) {
    throw DataError(str(dir.string(), ": ", e.what()));
  }
  return bundle;
}

}  // namespace mose::models
