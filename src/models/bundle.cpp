#include "mose/models/bundle.h"

#include <set>

#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/memory.h"
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
  std::vector<std::pair<std::string, Tensor>> parameters;
  for (const auto& item : model.named_parameters()) parameters.emplace_back(item.key(), item.value().detach());
  return weights_for_file(parameters);
}

io::TensorMap weights_for_file(const std::vector<std::pair<std::string, Tensor>>& parameters) {
  io::TensorMap out;
  for (const auto& [name, value] : parameters) {
    std::string prefix;
    if (stacked(name, "gate_up_proj", prefix)) {
      const int64_t F = value.size(1) / 2;
      for (int64_t e = 0; e < value.size(0); ++e) {
        out[str(prefix, e, ".gate_proj.weight")] = value[e].narrow(0, 0, F);
        out[str(prefix, e, ".up_proj.weight")] = value[e].narrow(0, F, F);
      }
    } else if (stacked(name, "down_proj", prefix)) {
      for (int64_t e = 0; e < value.size(0); ++e) out[str(prefix, e, ".down_proj.weight")] = value[e];
    } else if (const size_t at = name.find(".experts.fc"); at != std::string::npos) {
      const std::string head = name.substr(0, at) + ".experts.", tail = name.substr(head.size());
      for (int64_t e = 0; e < value.size(0); ++e) out[str(head, e, ".", tail)] = value[e];
    } else {
      out[name] = value;
    }
  }
  return out;
}

namespace {

void check_weights(const VisionLanguageModel& model, const io::StateDict& file) {
  const auto weights = weights_for_file(model);
  for (const auto& [name, target] : weights) {
    const Tensor source = file.get(name);
    if (source.sizes() != target.sizes()) {
      throw DataError(mose::str("weights: tensor \"", name, "\": expected shape ", target.sizes(), ", found ", source.sizes()));
    }
  }
  for (const auto& name : file.names()) {
    if (!weights.count(name)) {
      throw DataError(str("weights: tensor \"", name, "\" has no place in this model (config.json does not fit)"));
    }
  }
}

// The views of weights_for_file share memory with the parameters: filling them fills the model.
void fill_weights(const VisionLanguageModel& model, const io::StateDict& file) {
  const torch::NoGradGuard no_grad;
  for (const auto& name : file.names()) {
    const Tensor source = file.get(name);
    read_ahead(source.const_data_ptr(), source.nbytes());
  }
  for (const auto& weight : model.parameters()) use_large_pages(weight.const_data_ptr(), weight.nbytes());
  for (const auto& [name, target] : weights_for_file(model)) Tensor(target).copy_(file.get(name));
}

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

void write_files(const fs::path& dir, const Bundle& bundle, const io::TensorMap& weights, torch::ScalarType type) {
  Json config;
  config["model_type"] = "mose";
  config["torch_dtype"] = type == torch::kBFloat16 ? "bfloat16" : "float32";
  config.update(to_json_config(bundle.model->config()));
  save_json(dir / "config.json", config);
  io::save_sharded(dir, weights, io::kShardBytes, type);
  bundle.tokenizer.save(dir);
  vision::save_preprocess(dir, bundle.preprocess);
  save_json(dir / "skills.json", bundle.taxonomy.to_json());
}

}  // namespace

void save_bundle(const fs::path& folder, const Bundle& bundle) {
  const auto weights = weights_for_file(*bundle.model);
  save_bundle(folder, bundle, weights, weights.begin()->second.scalar_type());
}

void save_bundle(const fs::path& folder, const Bundle& bundle, const io::TensorMap& weights, torch::ScalarType type) {
  const fs::path dir = folder_path(folder);
  check_replaceable(dir);
  replace_folder(dir, [&](const fs::path& beside) { write_files(beside, bundle, weights, type); });
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
  const auto make = [&](nn::Init way) {
    const nn::InitGuard guard(way);
    return make_model(header.config, 0, &bundle.taxonomy);
  };
  const auto file = io::StateDict::open(dir);
  try {
    // First without memory: a config of any size is held against the file before its weights get room.
    check_weights(*make(nn::Init::kMeta), file);
    bundle.model = make(nn::Init::kEmpty);
    bundle.model->to(header.dtype);
    fill_weights(*bundle.model, file);
    if (!header.config.grid_pinpoints.empty() && bundle.preprocess.mode != "stretch") {
      throw UsageError(str("grid_pinpoints: expected images stretched to the frame, found the mode ", bundle.preprocess.mode));
    }
  } catch (const UsageError& e) {
    throw DataError(str((dir / "config.json").string(), ": ", e.what()));
  } catch (const DataError& e) {
    throw DataError(str(dir.string(), ": ", e.what()));
  }
  return bundle;
}

}  // namespace mose::models
