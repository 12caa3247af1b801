#include "mose/models/export.h"

#include <algorithm>

#include "models/import_layout.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/models/bundle.h"
#include "mose/vision/anyres.h"

namespace mose::models {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kEmptySharedExpert = 64;  // width of the zeros that stand for no shared expert

[[noreturn]] void refuse(const std::string& what) { throw UsageError("export to Hugging Face: " + what); }

std::string model_type_of(const language::Config& c) {
  if (c.head_bias) refuse("LLaVA's head has no bias there, and this one has (Phi's own)");
  if (c.ffn_copies != 1) refuse("FFNs of different widths (a widened model) have no place in any of its decoders");
  if (c.moe) {
    const auto& m = *c.moe;
    if (m.router != "topk" && m.router != "skill") {
      refuse(m.router == "hierarchical_skill"
                 ? std::string("a hierarchical_skill router is no linear map to experts (it goes over stages and skills), and Qwen2-MoE's "
                               "router is; train with moe.router = \"skill\" for a model to be exported")
                 : "a \"" + m.router + "\" gate has a capacity, which Qwen2-MoE has not");
    }
    if (c.norm != "rms" || c.ffn != "swiglu" || c.parallel || c.out_bias || c.ffn_bias) {
      refuse("a sparse decoder must be built as Qwen2's (RMSNorm, SwiGLU, biases on queries, keys and values at most)");
    }
    return "qwen2_moe";
  }
  if (c.ffn == "gelu") {
    if (c.norm != "layer" || !c.parallel || !c.qkv_bias || !c.out_bias) refuse("of decoders with GELU FFNs only Phi is known there");
    return "phi";
  }
  if (c.norm == "layer") {
    if (c.out_bias || c.ffn_bias) refuse("StableLM has no such biases");
    return "stablelm";
  }
  if (c.parallel) refuse("a decoder with RMSNorm and parallel branches is not known there");
  if (!c.sliding_layers.empty() && !c.qkv_bias) {
    if (static_cast<int64_t>(c.sliding_layers.size()) == c.layers && !c.out_bias && !c.ffn_bias) return "mistral";
    refuse("of decoders without biases only Mistral has windows, in all layers");
  }
  if (c.qkv_bias != c.out_bias || !c.sliding_layers.empty()) {
    if (!c.qkv_bias || c.out_bias || c.ffn_bias) refuse("this mixture of biases and windows is not known there");
    return "qwen2";
  }
  return "llama";
}

Json rope_json(const language::Config& c) {
  Json rope{{"rope_type", "default"}, {"rope_theta", c.rope_theta}};
  if (c.rotary_fraction != 1) rope["partial_rotary_factor"] = c.rotary_fraction;
  if (c.rope_scaling) {
    rope["rope_type"] = c.rope_scaling->type;
    rope["factor"] = c.rope_scaling->factor;
    if (c.rope_scaling->type == "llama3") {
      rope["low_freq_factor"] = c.rope_scaling->low_freq_factor;
      rope["high_freq_factor"] = c.rope_scaling->high_freq_factor;
      rope["original_max_position_embeddings"] = c.rope_scaling->original_positions;
    }
  }
  return rope;
}

void add_windows(Json& json, const language::Config& c) {
  if (c.sliding_layers.empty()) return;
  Json types = Json::array();
  for (int64_t i = 0; i < c.layers; ++i) {
    const bool slides = std::find(c.sliding_layers.begin(), c.sliding_layers.end(), i) != c.sliding_layers.end();
    types.push_back(slides ? "sliding_attention" : "full_attention");
  }
  json["layer_types"] = types;
  json["use_sliding_window"] = true;
  json["sliding_window"] = c.sliding_window;
}

Json decoder_json(const language::Config& c) {
  const std::string type = model_type_of(c);
  Json j{{"model_type", type},
         {"vocab_size", c.vocab_size},
         {"hidden_size", c.hidden_size},
         {"intermediate_size", c.intermediate_size},
         {"num_hidden_layers", c.layers},
         {"num_attention_heads", c.heads},
         {"num_key_value_heads", c.kv_heads},
         {"max_position_embeddings", c.max_positions},
         {"tie_word_embeddings", c.tie_embeddings},
         {c.norm == "layer" ? "layer_norm_eps" : "rms_norm_eps", c.norm_eps},
         {"hidden_act", type == "phi" ? "gelu_new" : "silu"},
         {"rope_theta", c.rope_theta},
         {"rope_parameters", rope_json(c)}};
  if (c.head_width() * c.heads != c.hidden_size) {
    if (type == "stablelm") refuse("StableLM's heads are hidden_size / heads wide");
    j["head_dim"] = c.head_width();
  }
  add_windows(j, c);
  if (type == "llama") {
    j["attention_bias"] = c.qkv_bias;
    j["mlp_bias"] = c.ffn_bias;
  } else if (type == "stablelm") {
    j["use_qkv_bias"] = c.qkv_bias;
    j["use_parallel_residual"] = c.parallel;
    j["partial_rotary_factor"] = c.rotary_fraction;
  } else if (type == "phi") {
    j["partial_rotary_factor"] = c.rotary_fraction;
  } else if (type == "qwen2_moe") {
    const auto sparse = moe::sparse_layers(*c.moe, c.layers);
    Json dense = Json::array();
    for (int64_t i = 0; i < c.layers; ++i) {
      if (std::find(sparse.begin(), sparse.end(), i) == sparse.end()) dense.push_back(i);
    }
    j["qkv_bias"] = c.qkv_bias;
    j["num_experts"] = c.moe->experts;
    j["num_experts_per_tok"] = c.moe->top_k;
    j["norm_topk_prob"] = c.moe->normalise_top_k;
    j["moe_intermediate_size"] = c.moe->intermediate > 0 ? c.moe->intermediate : c.intermediate_size;
    j["shared_expert_intermediate_size"] = c.moe->shared_ffn > 0 ? c.moe->shared_ffn : kEmptySharedExpert;
    j["decoder_sparse_step"] = 1;
    j["mlp_only_layers"] = dense;
  }
  return j;
}

Json tower_json(const vision::Config& c) {
  if (c.type == "vit") refuse("its tower is one of ours (vision.type \"vit\"); CLIP's and SigLIP's are known there");
  if (c.image_height != c.image_width) refuse("its images are not square");
  Json j{{"model_type", c.type + "_vision_model"},
         {"hidden_size", c.hidden_size},
         {"intermediate_size", c.intermediate_size},
         {"num_hidden_layers", c.layers},
         {"num_attention_heads", c.heads},
         {"image_size", c.image_width},
         {"patch_size", c.patch_size},
         {"layer_norm_eps", c.layer_norm_eps},
         {"hidden_act", c.activation == "gelu_tanh" ? "gelu_pytorch_tanh" : c.activation}};
  if (c.type == "siglip") j["vision_use_head"] = false;
  return j;
}

// "default" drops the first row: CLIP's class token, or else a patch.
const char* select_strategy(const vision::Config& c) { return c.type == "clip" || c.drop_first_patch ? "default" : "full"; }

Json config_json(const Config& c, const std::string& dtype) {
  if (c.projector.merge != 1) refuse("its projector merges patches (projector.merge > 1)");
  if (c.projector.hidden_size != 0 && c.projector.hidden_size != c.language.hidden_size) refuse("its projector's width is not the decoder's");
  const bool tiles = !c.grid_pinpoints.empty();
  Json j{{"architectures", {tiles ? "LlavaNextForConditionalGeneration" : "LlavaForConditionalGeneration"}},
         {"model_type", tiles ? "llava_next" : "llava"},
         {"torch_dtype", dtype},
         {"image_token_index", c.image_token_id},
         {"image_seq_length", c.image_tokens()},
         {"projector_hidden_act", "gelu"},
         {"multimodal_projector_bias", true},
         {"tie_word_embeddings", c.language.tie_embeddings},
         {"vision_feature_layer", -1},
         {"vision_feature_select_strategy", select_strategy(c.vision)},
         {"vision_config", tower_json(c.vision)},
         {"text_config", decoder_json(c.language)}};
  if (tiles) j["image_grid_pinpoints"] = vision::pinpoints_to_json(c.grid_pinpoints);
  return j;
}

// Where the importer would look for our tensors, there they are put.
io::TensorMap tensors_there(const io::StateDict& file, const Config& config, const Json& config_there) {
  const auto origins = hugging_face_llava(config_there, "the exported config").origins;
  io::TensorMap out;
  for (const std::string& name : file.names()) {
    if (name.starts_with("region_head.")) continue;  // serves training only
    const Origin* origin = origin_of(origins, name);
    if (!origin) refuse("tensor \"" + name + "\" has no place there");
    out[names_in_file(*origin, name).front()] = file.get(name);
  }
  const auto options = out.begin()->second.options();
  const int64_t Dv = config.vision.hidden_size, D = config.language.hidden_size;
  // After the tower's last block; LLaVA takes what is before it, but files hold it.
  out["vision_tower.vision_model.post_layernorm.weight"] = torch::ones({Dv}, options);
  out["vision_tower.vision_model.post_layernorm.bias"] = torch::zeros({Dv}, options);
  if (config.language.moe && config.language.moe->shared_ffn == 0) {
    for (const int64_t layer : moe::sparse_layers(*config.language.moe, config.language.layers)) {
      const std::string at = str("language_model.model.layers.", layer, ".mlp.shared_expert");
      out[at + ".gate_proj.weight"] = torch::zeros({kEmptySharedExpert, D}, options);
      out[at + ".up_proj.weight"] = torch::zeros({kEmptySharedExpert, D}, options);
      out[at + ".down_proj.weight"] = torch::zeros({D, kEmptySharedExpert}, options);
      out[at + "_gate.weight"] = torch::zeros({1, D}, options);
    }
  }
  return out;
}

Json processor_json(const Config& c) {
  return {{"processor_class", c.grid_pinpoints.empty() ? "LlavaProcessor" : "LlavaNextProcessor"},
          {"patch_size", c.vision.patch_size},
          {"vision_feature_select_strategy", select_strategy(c.vision)},
          {"num_additional_image_tokens", c.vision.type == "clip" ? 1 : 0},
          {"image_token", "<image>"}};
}

}  // namespace

void export_hugging_face(const fs::path& from, const fs::path& to) {
  const ModelHeader header = load_header(from);
  if (header.config.image_token_id >= header.config.language.vocab_size) {
    refuse(str("its image token ", header.config.image_token_id, " is outside the vocabulary of ", header.config.language.vocab_size));
  }
  const Json config = config_json(header.config, header.dtype == torch::kBFloat16 ? "bfloat16" : "float32");
  const io::StateDict file = io::StateDict::open(from);
  const io::TensorMap tensors = tensors_there(file, header.config, config);
  const text::Tokenizer tokenizer = text::Tokenizer::load(from);
  const vision::PreprocessConfig preprocess = vision::load_preprocess(from);
  if (preprocess.filter == "area") refuse("its pictures are resized with the filter \"area\", which no processor there has");
  if (preprocess.mode != "stretch" && preprocess.width != preprocess.height) {
    refuse("its pictures are cropped or padded to a frame that is not square");
  }
  std::error_code code;
  if (fs::exists(to, code) && !(fs::is_directory(to, code) && fs::is_empty(to, code))) {
    throw UsageError(to.string() + ": expected a new or empty folder");
  }
  replace_folder(folder_path(to), [&](const fs::path& beside) {
    save_json(beside / "config.json", config);
    io::save_sharded(beside, tensors);
    tokenizer.save(beside);
    vision::save_preprocess(beside, preprocess, header.config.grid_pinpoints);
    save_json(beside / "processor_config.json", processor_json(header.config));
  });
}

}  // namespace mose::models
