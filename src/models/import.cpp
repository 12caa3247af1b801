#include "mose/models/import.h"

#include <set>
#include <utility>

#include "models/import_config.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/init.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

// Prefixes of our names and what the same tensors are called in files.
const std::vector<std::pair<std::string, Strings>>& known_prefixes() {
  static const std::vector<std::pair<std::string, Strings>> prefixes = {
      {"model.vision_tower.",
       {"vision_tower.", "vision_tower.vision_model.", "model.vision_tower.", "model.vision_tower.vision_model."}},
      {"model.multi_modal_projector.", {"multi_modal_projector.", "model.multi_modal_projector."}},
      {"model.language_model.", {"language_model.model.", "model.language_model."}},
      {"lm_head.", {"language_model.lm_head.", "lm_head."}},
  };
  return prefixes;
}

Strings names_in_files(const std::string& ours) {
  for (const auto& [prefix, theirs] : known_prefixes()) {
    if (!ours.starts_with(prefix)) continue;
    Strings names;
    for (const std::string& their : theirs) names.push_back(their + ours.substr(prefix.size()));
    return names;
  }
  return {ours};
}

// Blocks behind the chosen layer and what follows the last one; tables that are computed here.
bool unused(const std::string& name, int64_t tower_layers) {
  if (name.ends_with(".inv_freq") || name.ends_with(".position_ids")) return true;
  if (name.find("vision_tower.") == std::string::npos) return false;
  for (const char* part : {".post_layernorm.", ".head."}) {
    if (name.find(part) != std::string::npos) return true;
  }
  const std::string marker = "encoder.layers.";
  const size_t at = name.find(marker);
  return at != std::string::npos && std::atoll(name.c_str() + at + marker.size()) >= tower_layers;
}

void check_frame(const vision::PreprocessConfig& preprocess, const vision::Config& tower, const fs::path& dir) {
  if (preprocess.width != tower.image_width || preprocess.height != tower.image_height) {
    throw DataError(str((dir / "preprocessor_config.json").string(), ": frames of ", preprocess.width, " x ", preprocess.height,
                        "; the tower takes ", tower.image_width, " x ", tower.image_height));
  }
}

}  // namespace

Imported import_hugging_face(const fs::path& dir, const std::string& chat_template, skills::Taxonomy taxonomy) {
  const std::string where = (dir / "config.json").string();
  Config config = config_from_llava(load_json(where), where);
  config.chat_template = chat_template;
  Imported out{io::StateDict::open(dir),
               {nullptr, text::Tokenizer::load(dir), vision::load_preprocess(dir), std::move(taxonomy)}, {}, {}};
  check_frame(out.bundle.preprocess, config.vision, dir);
  const int64_t image = out.bundle.tokenizer.token_to_id("<image>");
  if (image != config.image_token_id) {
    throw DataError(str(dir.string(), ": the tokenizer's \"<image>\" has id ", image, ", config.json says ", config.image_token_id));
  }
  try {
    const nn::InitGuard meta(nn::Init::kMeta);
    out.bundle.model = make_model(config, 0, &out.bundle.taxonomy);
  } catch (const UsageError& e) {
    throw DataError(str(where, ": ", e.what()));
  }
  std::set<std::string> used;
  bool bfloat16 = true;
  for (const auto& [name, shape] : weights_for_file(*out.bundle.model)) {
    const Strings names = names_in_files(name);
    const auto found = std::find_if(names.begin(), names.end(), [&](const std::string& n) { return out.file.has(n); });
    if (found == names.end()) throw DataError(str(dir.string(), ": no tensor named ", join(names, " or ")));
    const torch::Tensor tensor = out.file.get(*found);
    if (tensor.sizes() != shape.sizes()) {
      throw DataError(mose::str(dir.string(), ": tensor \"", *found, "\": expected shape ", shape.sizes(), ", found ", tensor.sizes()));
    }
    bfloat16 = bfloat16 && tensor.scalar_type() == torch::kBFloat16;
    used.insert(*found);
    out.weights[name] = tensor;
  }
  // One type for all: bfloat16 where every tensor has it, else float32, which holds the others' values exactly.
  if (!bfloat16) {
    for (auto& [name, tensor] : out.weights) tensor = tensor.to(torch::kFloat32);
  }
  for (const std::string& name : out.file.names()) {
    if (used.contains(name)) continue;
    // A tied head is written by some as a copy of the embedding.
    const bool tied_copy = config.language.tie_embeddings && name.ends_with("lm_head.weight");
    if (!tied_copy && !unused(name, config.vision.layers)) {
      throw DataError(str(dir.string(), ": tensor \"", name, "\" has no place in this model (config.json does not fit)"));
    }
    out.left_out.push_back(name);
  }
  return out;
}

}  // namespace mose::models
