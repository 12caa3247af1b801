#include "models/import_layout.h"

#include "models/hf_json.h"
#include "mose/vision/anyres.h"

namespace mose::models {
namespace {

using hf::has;
using hf::refuse;
using hf::require;
using hf::value_or;

// vision_feature_layer counts the embeddings as state 0 and -1 as the last block's.
int64_t kept_layers(int64_t layers, int64_t feature_layer, const std::string& where) {
  const int64_t kept = feature_layer < 0 ? layers + 1 + feature_layer : feature_layer;
  if (kept < 0 || kept > layers) {
    throw DataError(str(where, ": \"vision_feature_layer\": ", feature_layer, " is none of the tower's ", layers, " layers"));
  }
  return kept;
}

std::string activation_from(const Json& json, const char* otherwise, const std::string& where) {
  const auto name = value_or<std::string>(json, "hidden_act", otherwise, where);
  if (name == "gelu" || name == "quick_gelu") return name;
  if (name == "gelu_pytorch_tanh" || name == "gelu_new") return "gelu_tanh";
  refuse(where, "hidden_act", name, "gelu, quick_gelu or gelu_pytorch_tanh");
}

// A class token is dropped ("default", "patch"). Where there is none (SigLIP), that drops a patch.
void select_patches(vision::Config& tower, const Json& json, const char* key, const char* drop, const char* keep,
                    const std::string& where) {
  const auto strategy = value_or<std::string>(json, key, drop, where);
  const bool dropped = strategy == drop;
  if (!dropped && (strategy != keep || tower.type == "clip")) {
    refuse(where, key, strategy, tower.type == "clip" ? str("\"", drop, "\"") : str("\"", drop, "\" or \"", keep, "\""));
  }
  tower.drop_first_patch = dropped && tower.type == "siglip";
}

// LLaVA-1.6's own config: like pinpoints there, but [width, height].
std::vector<vision::ImageSize> own_pinpoints(const Json& json, const std::string& where) {
  const auto aspect = value_or<std::string>(json, "image_aspect_ratio", "square", where);
  const auto merge = value_or<std::string>(json, "mm_patch_merge_type", "flat", where);
  if (aspect != "anyres") {
    if (merge != "flat") refuse(where, "mm_patch_merge_type", merge, str("\"flat\" with image_aspect_ratio \"", aspect, "\""));
    return {};
  }
  if (merge != "spatial_unpad") refuse(where, "mm_patch_merge_type", merge, "\"spatial_unpad\" with image_aspect_ratio \"anyres\"");
  json_array(json, "image_grid_pinpoints", where);
  auto pinpoints = vision::pinpoints_from_json(json, where);
  for (auto& size : pinpoints) std::swap(size.width, size.height);
  return pinpoints;
}

const std::vector<std::string> kOwnTower = {"model.image_tower.image_tower.vision_model.", "model.vision_tower.vision_tower.vision_model."};

// MoE-LLaVA's sparse layers: DeepSpeed's names and gate.
void read_deepspeed(const Json& json, ImportedDecoder& decoder, const std::string& where) {
  const Json& j = json_object(json, "moe", where);
  const std::string at = where + ": moe";
  moe::Config moe;
  const auto experts = value_or<std::vector<int64_t>>(j, "num_experts", {4}, at);
  if (experts.empty() || std::any_of(experts.begin(), experts.end(), [&](int64_t e) { return e != experts[0]; })) {
    refuse(at, "num_experts", j["num_experts"], "the same number in every layer");
  }
  moe.experts = experts[0];
  moe.top_k = value_or<int64_t>(j, "top_k_experts", 2, at);
  if (moe.top_k != 2) refuse(at, "top_k_experts", moe.top_k, "2");
  moe.router = "deepspeed095";
  moe.capacity_factor = value_or<double>(j, "eval_capacity_factor", 1, at);
  moe.min_capacity = value_or<int64_t>(j, "min_capacity", 4, at);
  require(j, "use_residual", false, false, at);
  moe.placement = "listed";
  moe.layers = json_array(j, "moe_layers_idx", at).get<std::vector<int64_t>>();
  decoder.config.moe = moe;
  // Before the family's own: its replacements work inside an expert's name too.
  const Replacements deepspeed = {{".mlp.gate.", ".mlp.deepspeed_moe.gate.wg."},
                                  {".mlp.experts.", ".mlp.deepspeed_moe.experts.deepspeed_experts."}};
  decoder.replacements.insert(decoder.replacements.begin(), deepspeed.begin(), deepspeed.end());
}

}  // namespace

vision::Config import_tower(const Json& json, int64_t feature_layer, const std::string& where) {
  vision::Config c;
  const std::string type = json_string(json, "model_type", where);
  const bool clip = type == "clip_vision_model";
  if (!clip && type != "siglip_vision_model") refuse(where, "model_type", type, "clip_vision_model or siglip_vision_model");
  c.type = clip ? "clip" : "siglip";
  c.stem = "patch";
  c.hidden_size = value_or<int64_t>(json, "hidden_size", 768, where);
  c.intermediate_size = value_or<int64_t>(json, "intermediate_size", 3072, where);
  c.heads = value_or<int64_t>(json, "num_attention_heads", 12, where);
  c.image_height = c.image_width = value_or<int64_t>(json, "image_size", 224, where);
  c.patch_size = value_or<int64_t>(json, "patch_size", clip ? 32 : 16, where);
  c.layer_norm_eps = value_or<double>(json, "layer_norm_eps", clip ? 1e-5 : 1e-6, where);
  c.activation = activation_from(json, clip ? "quick_gelu" : "gelu_pytorch_tanh", where);
  require<int64_t>(json, "num_channels", 3, 3, where);
  c.layers = kept_layers(value_or<int64_t>(json, "num_hidden_layers", 12, where), feature_layer, where);
  return c;
}

Layout hugging_face_llava(const Json& json, const std::string& where) {
  const std::string type = json_string(json, "model_type", where);
  if (type != "llava" && type != "llava_next") refuse(where, "model_type", type, "llava or llava_next");
  Layout out;
  Config& c = out.config;
  c.vision = import_tower(json_object(json, "vision_config", where), value_or<int64_t>(json, "vision_feature_layer", -2, where),
                          where + ": vision_config");
  select_patches(c.vision, json, "vision_feature_select_strategy", "default", "full", where);
  const ImportedDecoder decoder = import_decoder(json_object(json, "text_config", where), where + ": text_config");
  c.language = decoder.config;
  c.language.tie_embeddings = value_or(json, "tie_word_embeddings", c.language.tie_embeddings, where);
  c.language.head_bias = false;  // the head there is LLaVA's own
  c.projector.merge = 1;
  require<std::string>(json, "projector_hidden_act", "gelu", "gelu", where);
  require(json, "multimodal_projector_bias", true, true, where);
  c.image_token_id = json_int(json, has(json, "image_token_index") ? "image_token_index" : "image_token_id", where);
  out.origins = {
      {"model.vision_tower.", {"vision_tower.vision_model.", "vision_tower.", "model.vision_tower.", "model.vision_tower.vision_model."}, {}, 0},
      {"model.multi_modal_projector.", {"multi_modal_projector.", "model.multi_modal_projector."}, {}, 0},
      {"model.language_model.", {"language_model.model.", "model.language_model."}, decoder.replacements, 0},
      {"lm_head.", {"language_model.lm_head.", "lm_head."}, {}, 0}};
  if (type == "llava_next") {
    c.grid_pinpoints = vision::pinpoints_from_json(json, where);
    out.origins.push_back({"model.image_newline", {"image_newline", "model.image_newline"}, {}, 0});
  }
  return out;
}

bool is_original_llava(const Json& json) { return has(json, "mm_vision_tower") || has(json, "mm_image_tower"); }

Layout original_llava(const Json& json, const Json& tower, bool tower_in_file, const std::string& where) {
  std::string type = json_string(json, "model_type", where);
  const bool sparse = type.starts_with("moe_llava_");
  Json flat = json;
  if (type == "llava") type = "llama";
  for (const char* prefix : {"moe_llava_", "llava_"}) {
    if (type.starts_with(prefix)) type = type.substr(std::string(prefix).size());
  }
  flat["model_type"] = type == "qwen1_5" ? "qwen2" : type == "stablelm" ? "stablelm_epoch" : type;
  ImportedDecoder decoder = import_decoder(flat, where);
  if (decoder.config.ffn == "gelu") decoder.config.head_bias = false;  // that fork of Phi has none
  if (sparse) read_deepspeed(json, decoder, where);

  Layout out;
  Config& c = out.config;
  c.language = decoder.config;
  c.vision = import_tower(tower, value_or<int64_t>(json, "mm_vision_select_layer", -2, where), where + ": the tower's config");
  select_patches(c.vision, json, "mm_vision_select_feature", "patch", "cls_patch", where);
  c.projector.merge = 1;
  const bool moe_llava = has(json, "mm_image_tower");
  const char* projector = moe_llava ? "image_projector_type" : "mm_projector_type";
  require<std::string>(json, projector, "linear", "mlp2x_gelu", where);
  require(json, "mm_use_im_start_end", false, false, where);
  require(json, "mm_use_im_patch_token", false, false, where);
  if (has(json, "mm_video_tower")) refuse(where, "mm_video_tower", json["mm_video_tower"], "none");
  const std::string mm = moe_llava ? "model.mm_projector.image_spatial_proj." : "model.mm_projector.";
  out.origins = {{"model.multi_modal_projector.", {mm}, {{"^linear_1.", "0."}, {"^linear_2.", "2."}}, 0},
                 {"model.language_model.", {decoder.prefix}, decoder.replacements, 0},
                 {"lm_head.", {"lm_head."}, {}, 0}};
  c.grid_pinpoints = own_pinpoints(json, where);
  if (!c.grid_pinpoints.empty()) out.origins.push_back({"model.image_newline", {"model.image_newline"}, {}, 0});
  if (tower_in_file) out.origins.push_back({"model.vision_tower.", kOwnTower, {}, 0});
  else out.origins.push_back({"model.vision_tower.", {"vision_model.", ""}, {}, 1});
  return out;
}

const Origin* origin_of(const std::vector<Origin>& origins, const std::string& ours) {
  for (const Origin& origin : origins) {
    if (ours.starts_with(origin.ours)) return &origin;
  }
  return nullptr;
}

std::vector<std::string> names_in_file(const Origin& origin, const std::string& ours) {
  std::string rest = ours.substr(origin.ours.size());
  for (const auto& [piece, theirs] : origin.replacements) {
    const bool bound = piece.front() == '^';
    const std::string plain = bound ? piece.substr(1) : piece;
    const size_t at = rest.find(plain);
    if (at != std::string::npos && (!bound || at == 0)) rest.replace(at, plain.size(), theirs);
  }
  std::vector<std::string> names;
  for (const std::string& prefix : origin.theirs) names.push_back(prefix + rest);
  return names;
}

torch::Tensor find_tensor(const io::StateDict& file, const std::string& name, std::string& plain_name) {
  plain_name = name;
  const size_t mark = name.find('#');
  if (mark == std::string::npos) return file.has(name) ? file.get(name) : torch::Tensor();
  const int64_t block = name[mark + 1] - '0', blocks = name[mark + 3] - '0';
  plain_name = name.substr(0, mark) + name.substr(mark + 5);
  if (!file.has(plain_name)) return {};
  const torch::Tensor whole = file.get(plain_name);
  if (whole.dim() == 0 || whole.size(0) % blocks != 0) {
    throw DataError(mose::str("tensor \"", plain_name, "\": expected a number of rows that ", blocks, " divides, found ", whole.sizes()));
  }
  const int64_t rows = whole.size(0) / blocks;
  return whole.narrow(0, block * rows, rows);
}

}  // namespace mose::models
