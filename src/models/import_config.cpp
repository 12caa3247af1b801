#include "models/import_config.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::models {
namespace {

bool has(const Json& json, const char* key) { return json.contains(key) && !json.at(key).is_null(); }

// A key that may be missing; what transformers assumes then.
template <class T>
T value_or(const Json& json, const char* key, T otherwise, const std::string& where) {
  if (!has(json, key)) return otherwise;
  try {
    return json.at(key).get<T>();
  } catch (const Json::exception&) {
    throw DataError(str(where, ": \"", key, "\": unexpected value ", json.at(key).dump()));
  }
}

[[noreturn]] void refuse(const std::string& where, const char* key, const Json& found, const std::string& expected) {
  throw DataError(str(where, ": \"", key, "\": found ", found.dump(), ", which is not computed here; expected ", expected));
}

template <class T>
void require(const Json& json, const char* key, T otherwise, const T& expected, const std::string& where) {
  const T value = value_or(json, key, otherwise, where);
  if (value != expected) refuse(where, key, Json(value), Json(expected).dump());
}

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

vision::Config tower_from(const Json& json, const Json& whole, const std::string& where) {
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
  const auto layers = value_or<int64_t>(json, "num_hidden_layers", 12, where);
  c.layers = kept_layers(layers, value_or<int64_t>(whole, "vision_feature_layer", -2, where), where);
  // A class token is dropped ("default"); where there is none, dropping would lose a patch ("full").
  require<std::string>(whole, "vision_feature_select_strategy", "default", clip ? "default" : "full", where);
  return c;
}

double rope_theta_from(const Json& json, const std::string& where) {
  if (has(json, "rope_scaling") && value_or<std::string>(json["rope_scaling"], "rope_type", "default", where) != "default") {
    refuse(where, "rope_scaling", json["rope_scaling"], "none");
  }
  if (!has(json, "rope_parameters")) return value_or<double>(json, "rope_theta", 10000, where);
  const Json& rope = json_object(json, "rope_parameters", where);
  require<std::string>(rope, "rope_type", "default", "default", where + ": rope_parameters");
  require<double>(rope, "partial_rotary_factor", 1, 1, where + ": rope_parameters");
  return value_or<double>(rope, "rope_theta", 10000, where);
}

language::Config decoder_from(const Json& json, const Json& whole, const std::string& where) {
  language::Config c;
  const std::string type = json_string(json, "model_type", where);
  if (type != "llama" && type != "qwen2") refuse(where, "model_type", type, "llama or qwen2");
  const bool qwen = type == "qwen2";
  c.vocab_size = value_or<int64_t>(json, "vocab_size", qwen ? 151936 : 32000, where);
  c.hidden_size = value_or<int64_t>(json, "hidden_size", 4096, where);
  c.intermediate_size = value_or<int64_t>(json, "intermediate_size", qwen ? 22016 : 11008, where);
  c.layers = value_or<int64_t>(json, "num_hidden_layers", 32, where);
  c.heads = value_or<int64_t>(json, "num_attention_heads", 32, where);
  c.kv_heads = value_or<int64_t>(json, "num_key_value_heads", qwen ? 32 : c.heads, where);
  c.head_dim = value_or<int64_t>(json, "head_dim", 0, where);
  c.rms_norm_eps = value_or<double>(json, "rms_norm_eps", 1e-6, where);
  c.max_positions = value_or<int64_t>(json, "max_position_embeddings", qwen ? 32768 : 2048, where);
  c.rope_theta = rope_theta_from(json, where);
  c.qkv_bias = qwen;
  c.tie_embeddings = value_or<bool>(whole, "tie_word_embeddings", value_or<bool>(json, "tie_word_embeddings", false, where), where);
  require<std::string>(json, "hidden_act", "silu", "silu", where);
  if (!qwen) require<bool>(json, "attention_bias", false, false, where);
  if (!qwen) require<bool>(json, "mlp_bias", false, false, where);
  if (qwen) require<bool>(json, "use_sliding_window", false, false, where);
  return c;
}

}  // namespace

Config config_from_llava(const Json& json, const std::string& where) {
  const std::string type = json_string(json, "model_type", where);
  if (type != "llava") refuse(where, "model_type", type, "llava");
  Config c;
  c.vision = tower_from(json_object(json, "vision_config", where), json, where + ": vision_config");
  c.language = decoder_from(json_object(json, "text_config", where), json, where + ": text_config");
  c.projector.merge = 1;
  require<std::string>(json, "projector_hidden_act", "gelu", "gelu", where);
  require<bool>(json, "multimodal_projector_bias", true, true, where);
  c.image_token_id = json_int(json, has(json, "image_token_index") ? "image_token_index" : "image_token_id", where);
  return c;
}

}  // namespace mose::models
