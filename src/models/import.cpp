#include "mose/models/import.h"

#include <algorithm>
#include <cmath>
#include <set>
#include <utility>

#include "models/hf_json.h"
#include "models/import_layout.h"
#include "models/upcycling.h"
#include "mose/core/config.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/init.h"
#include "mose/vision/anyres.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;
using Strings = std::vector<std::string>;

// Blocks behind the chosen layer and what follows the last one; a dual encoder's other half; tables that are
// computed here.
bool unused(const std::string& name, int64_t tower_layers) {
  if (name.ends_with(".inv_freq") || name.ends_with(".position_ids")) return true;
  for (const char* prefix : {"text_model.", "text_projection.", "visual_projection.", "logit_scale", "logit_bias"}) {
    if (name.starts_with(prefix)) return true;
  }
  if (name.find("vision_tower.") == std::string::npos && name.find("image_tower.") == std::string::npos &&
      !name.starts_with("vision_model.") && !name.starts_with("encoder.") && !name.starts_with("post_layernorm.") &&
      !name.starts_with("head.")) {
    return false;
  }
  for (const char* part : {"post_layernorm.", "head."}) {
    const size_t at = name.find(part);
    if (at == 0 || (at != std::string::npos && name[at - 1] == '.')) return true;
  }
  const std::string marker = "encoder.layers.";
  const size_t at = name.find(marker);
  return at != std::string::npos && std::atoll(name.c_str() + at + marker.size()) >= tower_layers;
}

// Integers are codes of a quantised model.
bool known_type(torch::ScalarType type) {
  return type == torch::kFloat32 || type == torch::kFloat16 || type == torch::kBFloat16;
}

// The processor cuts the frames that the tower takes, and as many.
void check_frames(const vision::PreprocessConfig& preprocess, const Config& config, const fs::path& dir,
                  const std::vector<vision::ImageSize>& pinpoints) {
  const std::string file = (dir / "preprocessor_config.json").string();
  const vision::Config& tower = config.vision;
  if (preprocess.width != tower.image_width || preprocess.height != tower.image_height) {
    throw DataError(str(file, ": frames of ", preprocess.width, " x ", preprocess.height, "; the tower takes ", tower.image_width, " x ",
                        tower.image_height));
  }
  if (pinpoints != config.grid_pinpoints) {
    throw DataError(str(file, ": image_grid_pinpoints ", vision::pinpoints_to_json(pinpoints).dump(), ", the model's are ",
                        vision::pinpoints_to_json(config.grid_pinpoints).dump()));
  }
}

void make_on_meta(Imported& out, const Config& config, const std::string& where) {
  try {
    Config ranged;  // a file's sizes may be any numbers: they are held against the ranges of ours
    from_json_config(ranged, to_json_config(config), "sizes");
    const nn::InitGuard meta(nn::Init::kMeta);
    out.bundle.model = make_model(config, 0, &out.bundle.taxonomy);
  } catch (const UsageError& e) {
    throw DataError(str(where, ": ", e.what()));
  }
}

// Fills out.weights with views of the files. Parameters outside all origins are left to the caller.
void gather(Imported& out, const Layout& layout, const Strings& dirs) {
  std::vector<std::set<std::string>> used(out.files.size());
  bool bfloat16 = true;
  for (const auto& [name, shape] : weights_for_file(*out.bundle.model)) {
    const Origin* origin = origin_of(layout.origins, name);
    if (!origin) continue;
    const Strings names = names_in_file(*origin, name);
    const io::StateDict& file = out.files[origin->file];
    const std::string& dir = dirs[origin->file];
    torch::Tensor tensor;
    std::string found;
    for (size_t i = 0; i < names.size() && !tensor.defined(); ++i) tensor = find_tensor(file, names[i], found);
    if (!tensor.defined()) throw DataError(str(dir, ": no tensor named ", join(names, " or ")));
    if (tensor.sizes() != shape.sizes()) {
      throw DataError(mose::str(dir, ": tensor \"", found, "\": expected shape ", shape.sizes(), ", found ", tensor.sizes()));
    }
    if (!known_type(tensor.scalar_type())) {
      throw DataError(mose::str(dir, ": tensor \"", found, "\": expected float32, float16 or bfloat16, found ", tensor.scalar_type()));
    }
    bfloat16 = bfloat16 && tensor.scalar_type() == torch::kBFloat16;
    used[origin->file].insert(found);
    out.weights[name] = tensor;
  }
  if (bfloat16) out.type = torch::kBFloat16;
  const bool tied = layout.config.language.tie_embeddings;
  for (size_t f = 0; f < out.files.size(); ++f) {
    for (const std::string& name : out.files[f].names()) {
      if (used[f].contains(name)) continue;
      // A tied head is written by some as a copy of the embedding; one that differs is another model's.
      const bool tied_copy = tied && name.ends_with("lm_head.weight") &&
                             at::equal(out.files[f].get(name), out.weights.at("model.language_model.embed_tokens.weight"));
      if (!tied_copy && !unused(name, layout.config.vision.layers)) {
        throw DataError(str(dirs[f], ": tensor \"", name, "\" has no place in this model (config.json does not fit)"));
      }
      out.left_out.push_back(name);
    }
  }
}

Json tower_config(const fs::path& dir) {
  const std::string where = (dir / "config.json").string();
  const Json json = load_json(where);
  return hf::has(json, "vision_config") ? json_object(json, "vision_config", where) : json;
}

// The tower's processor; LLaVA's own layout pads to a square, or cuts tiles, where its config says so.
vision::PreprocessConfig own_preprocess(const fs::path& tower, const Json& json, const std::string& where) {
  const auto aspect = hf::value_or<std::string>(json, "image_aspect_ratio", "square", where);
  if (aspect != "pad" && aspect != "square" && aspect != "anyres") hf::refuse(where, "image_aspect_ratio", aspect, "pad, square or anyres");
  const std::string file = (tower / "preprocessor_config.json").string();
  if (aspect != "pad") {
    auto preprocess = vision::load_preprocess(tower);
    if (aspect == "square") return preprocess;
    if (preprocess.shortest_edge != 0) throw DataError(str(file, ": size: anyres needs the tower's frame as the shortest edge"));
    preprocess.mode = "stretch";
    preprocess.filter = "bicubic";  // whatever the processor has: tiles are cut before they come to it
    return preprocess;
  }
  Json processor = load_json(file);
  processor["image_aspect_ratio"] = aspect;
  return vision::preprocess_from_json(processor, file);
}

// LLaVA's own layout names no image token: the text "<image>" becomes one, whose embedding is never read.
void add_image_token(text::Tokenizer& tokenizer, Config& config) {
  config.image_token_id = tokenizer.add_special_token("<image>");
}

}  // namespace

Imported import_model(const fs::path& dir, const fs::path& vision, const std::string& chat_template, skills::Taxonomy taxonomy) {
  const std::string where = (dir / "config.json").string();
  const Json json = load_json(where);
  const bool original = is_original_llava(json);
  if (original && vision.empty()) {
    throw UsageError(where + ": LLaVA's own layout names its tower and does not hold the tower's config; give --vision DIR");
  }
  if (!original && !vision.empty()) throw UsageError(where + ": this checkpoint holds its own tower; --vision is not needed");
  const auto preprocess = original ? own_preprocess(vision, json, where) : vision::load_preprocess(dir);
  Imported out{{}, {nullptr, text::Tokenizer::load(dir), preprocess, std::move(taxonomy)}, {}, {}};
  out.files.push_back(io::StateDict::open(dir));
  Strings dirs{dir.string()};
  Layout layout;
  if (original) {
    const auto names = out.files[0].names();
    const bool inside = std::any_of(names.begin(), names.end(), [](const std::string& n) { return n.find("_tower.vision_model.") != std::string::npos; });
    layout = original_llava(json, tower_config(vision), inside, where);
    if (!inside) {
      out.files.push_back(io::StateDict::open(vision));
      dirs.push_back(vision.string());
    }
    add_image_token(out.bundle.tokenizer, layout.config);
  } else {
    layout = hugging_face_llava(json, where);
    const int64_t image = out.bundle.tokenizer.token_to_id("<image>");
    if (image != layout.config.image_token_id) {
      throw DataError(str(dir.string(), ": the tokenizer's \"<image>\" has id ", image, ", config.json says ", layout.config.image_token_id));
    }
  }
  layout.config.chat_template = chat_template;
  check_frames(out.bundle.preprocess, layout.config, original ? vision : dir,
               original ? layout.config.grid_pinpoints : vision::load_pinpoints(dir));
  make_on_meta(out, layout.config, where);
  gather(out, layout, dirs);
  return out;
}

Imported join_checkpoints(const fs::path& vision, const fs::path& language, const std::string& chat_template,
                          skills::Taxonomy taxonomy, uint64_t seed) {
  const std::string where = (language / "config.json").string();
  const ImportedDecoder decoder = import_decoder(load_json(where), where);
  Imported out{{}, {nullptr, text::Tokenizer::load(language), vision::load_preprocess(vision), std::move(taxonomy)}, {}, {}};
  out.files = {io::StateDict::open(language), io::StateDict::open(vision)};
  Layout layout;
  layout.config.language = decoder.config;
  layout.config.vision = import_tower(tower_config(vision), -2, (vision / "config.json").string());
  layout.config.projector.merge = 1;
  layout.config.chat_template = chat_template;
  layout.origins = {{"model.language_model.", {decoder.prefix}, decoder.replacements, 0},
                    {"lm_head.", {"lm_head."}, {}, 0},
                    {"model.vision_tower.", {"vision_model.", ""}, {}, 1}};
  add_image_token(out.bundle.tokenizer, layout.config);
  check_frames(out.bundle.preprocess, layout.config, vision, vision::load_pinpoints(vision));
  make_on_meta(out, layout.config, where);
  gather(out, layout, {language.string(), vision.string()});
  torch::manual_seed(seed);
  const vision::Projector projector(layout.config.projector, layout.config.vision, layout.config.language.hidden_size);
  for (const auto& item : projector.named_parameters()) {
    out.weights["model.multi_modal_projector." + item.key()] = item.value().detach();
  }
  return out;
}

void upcycle(Imported& imported, const moe::Config& moe, uint64_t seed) {
  Config config = imported.bundle.model->config();
  check_upcycling(config.language, moe);
  config.language.moe = moe;
  make_on_meta(imported, config, "upcycling");
  torch::manual_seed(seed);
  io::TensorMap sparse;
  for (const auto& [name, shape] : weights_for_file(*imported.bundle.model)) {
    if (const auto found = imported.weights.find(name); found != imported.weights.end()) {
      sparse[name] = found->second;
      continue;
    }
    const std::string source = copied_by_expert(name);
    sparse[name] = source.empty()  // a router, drawn as moe::make_router draws it
                       ? nn::uniform(shape.sizes(), 1 / std::sqrt(static_cast<double>(config.language.hidden_size)))
                       : imported.weights.at(source);
  }
  imported.weights = std::move(sparse);
}

}  // namespace mose::models
