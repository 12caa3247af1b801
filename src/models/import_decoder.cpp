#include "models/import_decoder.h"

#include <algorithm>
#include <array>

#include "models/hf_json.h"

namespace mose::models {
namespace {

using hf::has;
using hf::refuse;
using hf::require;
using hf::value_or;

// Fields that most families write alike.
struct Defaults {
  int64_t vocabulary = 32000, width = 4096, intermediate = 11008, layers = 32, heads = 32, kv_heads = 0, positions = 2048;
  double eps = 1e-6;
};

language::Config common(const Json& json, const Defaults& d, const std::string& where) {
  language::Config c;
  c.vocab_size = value_or(json, "vocab_size", d.vocabulary, where);
  c.hidden_size = value_or(json, "hidden_size", d.width, where);
  c.intermediate_size = value_or(json, "intermediate_size", d.intermediate, where);
  c.layers = value_or(json, "num_hidden_layers", d.layers, where);
  c.heads = value_or(json, "num_attention_heads", d.heads, where);
  c.kv_heads = value_or(json, "num_key_value_heads", d.kv_heads > 0 ? d.kv_heads : c.heads, where);
  c.head_dim = value_or<int64_t>(json, "head_dim", 0, where);
  c.max_positions = value_or(json, "max_position_embeddings", d.positions, where);
  c.tie_embeddings = value_or(json, "tie_word_embeddings", false, where);
  return c;
}

// transformers 5 writes rope_parameters, 4 rope_theta, rope_scaling and partial_rotary_factor.
void read_rope(const Json& json, language::Config& c, double fraction, const std::string& where) {
  const bool new_form = has(json, "rope_parameters");
  const std::string at = where + (new_form ? ": rope_parameters" : ": rope_scaling");
  const Json rope = new_form                     ? json_object(json, "rope_parameters", where)
                    : has(json, "rope_scaling") ? json_object(json, "rope_scaling", where)
                                                 : Json::object();
  c.rope_theta = value_or<double>(rope, "rope_theta", value_or<double>(json, "rope_theta", 10000, where), at);
  c.rotary_fraction = value_or<double>(rope, "partial_rotary_factor", value_or(json, "partial_rotary_factor", fraction, where), at);
  // Older files say "type".
  const auto type = value_or<std::string>(rope, "rope_type", value_or<std::string>(rope, "type", "default", at), at);
  if (type == "default") return;
  if (type != "linear" && type != "llama3") refuse(at, "rope_type", type, "default, linear or llama3");
  nn::RopeScaling scaling;
  scaling.type = type;
  scaling.factor = json_number(rope, "factor", at);
  if (type == "llama3") {
    scaling.low_freq_factor = json_number(rope, "low_freq_factor", at);
    scaling.high_freq_factor = json_number(rope, "high_freq_factor", at);
    scaling.original_positions = json_int(rope, "original_max_position_embeddings", at);
  }
  c.rope_scaling = scaling;
}

// Layers whose window is set, by "layer_types" or else by the family's rule for layer i.
template <class Rule>
void read_window(const Json& json, language::Config& c, bool enabled, int64_t window, Rule rule, const std::string& where) {
  if (!enabled || window <= 0) return;
  for (int64_t i = 0; i < c.layers; ++i) {
    bool slides = rule(i);
    if (has(json, "layer_types")) {
      const Json& types = json_array(json, "layer_types", where);
      if (static_cast<int64_t>(types.size()) != c.layers) refuse(where, "layer_types", types.size(), str("one a layer, ", c.layers));
      slides = types[static_cast<size_t>(i)] == "sliding_attention";
    }
    if (slides) c.sliding_layers.push_back(i);
  }
  if (!c.sliding_layers.empty()) c.sliding_window = window;
}

// Llama, and what is built like it: RMSNorm, SwiGLU, rotary embedding over the whole head.
language::Config llama_like(const Json& json, const Defaults& d, const std::string& where) {
  language::Config c = common(json, d, where);
  c.norm_eps = value_or(json, "rms_norm_eps", d.eps, where);
  read_rope(json, c, 1, where);
  require<std::string>(json, "hidden_act", "silu", "silu", where);
  return c;
}

ImportedDecoder read_llama(const Json& json, const std::string& where) {
  language::Config c = llama_like(json, {}, where);
  c.qkv_bias = c.out_bias = value_or(json, "attention_bias", false, where);
  c.ffn_bias = value_or(json, "mlp_bias", false, where);
  return {c};
}

ImportedDecoder read_mistral(const Json& json, const std::string& where) {
  language::Config c = llama_like(json, {.intermediate = 14336, .kv_heads = 8, .positions = 131072}, where);
  const auto window = json.contains("sliding_window") ? value_or<int64_t>(json, "sliding_window", 0, where) : int64_t{4096};
  read_window(json, c, true, window, [](int64_t) { return true; }, where);
  return {c};
}

// Which layers have Qwen2's windows, where they are used: `rule` tells by layer and max_window_layers.
template <class Rule>
void read_qwen_window(const Json& json, language::Config& c, Rule rule, const std::string& where) {
  const auto limit = value_or<int64_t>(json, "max_window_layers", 28, where);
  read_window(json, c, value_or(json, "use_sliding_window", false, where), value_or<int64_t>(json, "sliding_window", 4096, where),
              [&](int64_t i) { return rule(i, limit); }, where);
}

ImportedDecoder read_qwen2(const Json& json, const std::string& where) {
  language::Config c = llama_like(json, {.vocabulary = 151936, .intermediate = 22016, .kv_heads = 32, .positions = 32768}, where);
  c.qkv_bias = true;
  read_qwen_window(json, c, [](int64_t i, int64_t full) { return i >= full; }, where);
  return {c};
}

// Qwen's first version, whose code came with its files. Its stretching beyond seq_length (NTK, log n) is
// not computed: max_positions ends there.
ImportedDecoder read_qwen(const Json& json, const std::string& where) {
  ImportedDecoder d;
  d.config = common(json, {.vocabulary = 151936, .intermediate = 22016}, where);
  auto& c = d.config;
  c.intermediate_size = json_int(json, "intermediate_size", where) / 2;  // counts both halves
  c.head_dim = value_or<int64_t>(json, "kv_channels", 128, where);
  c.norm_eps = value_or(json, "layer_norm_epsilon", 1e-6, where);
  c.rope_theta = value_or<double>(json, "rotary_emb_base", 10000, where);
  c.rotary_fraction = value_or<double>(json, "rotary_pct", 1, where);
  c.max_positions = value_or<int64_t>(json, "seq_length", 2048, where);
  c.qkv_bias = true;
  require(json, "no_bias", true, true, where);
  d.prefix = "transformer.";
  d.replacements = {{"^embed_tokens.", "wte."},
                    {"^norm.", "ln_f."},
                    {"^layers.", "h."},
                    {".input_layernorm.", ".ln_1."},
                    {".post_attention_layernorm.", ".ln_2."},
                    {".self_attn.q_proj.", ".attn.c_attn.#0/3#"},
                    {".self_attn.k_proj.", ".attn.c_attn.#1/3#"},
                    {".self_attn.v_proj.", ".attn.c_attn.#2/3#"},
                    {".self_attn.o_proj.", ".attn.c_proj."},
                    {".gate_proj.", ".w2."},  // silu(w2 x) * (w1 x)
                    {".up_proj.", ".w1."},
                    {".down_proj.", ".c_proj."}};
  return d;
}

ImportedDecoder read_stablelm(const Json& json, const std::string& where) {
  ImportedDecoder d;
  d.config = common(json, {.vocabulary = 50304, .width = 2560, .intermediate = 6912, .positions = 4096}, where);
  auto& c = d.config;
  const bool own_code = json_string(json, "model_type", where) == "stablelm_epoch";  // before transformers had it
  c.norm = "layer";
  c.norm_eps = value_or(json, own_code ? "norm_eps" : "layer_norm_eps", 1e-5, where);
  read_rope(json, c, value_or(json, "rope_pct", 0.25, where), where);
  c.qkv_bias = value_or(json, "use_qkv_bias", own_code, where);
  c.parallel = value_or(json, "use_parallel_residual", false, where);
  require(json, "qk_layernorm", false, false, where);
  require<std::string>(json, "hidden_act", "silu", "silu", where);
  return d;
}

ImportedDecoder read_phi(const Json& json, const std::string& where) {
  ImportedDecoder d;
  d.config = common(json, {.vocabulary = 51200, .width = 2048, .intermediate = 8192, .layers = 24}, where);
  auto& c = d.config;
  c.norm = "layer";
  c.norm_eps = value_or(json, "layer_norm_eps", 1e-5, where);
  read_rope(json, c, 0.5, where);
  c.ffn = "gelu";
  c.parallel = c.qkv_bias = c.out_bias = c.head_bias = true;
  const auto activation = value_or<std::string>(json, "hidden_act", "gelu_new", where);
  if (activation != "gelu_new" && activation != "gelu_pytorch_tanh") refuse(where, "hidden_act", activation, "gelu_new");
  require(json, "qk_layernorm", false, false, where);
  d.replacements = {{".self_attn.o_proj.", ".self_attn.dense."}, {"^norm.", "final_layernorm."}};
  return d;
}

ImportedDecoder read_mixtral(const Json& json, const std::string& where) {
  ImportedDecoder d;
  d.config = llama_like(json, {.intermediate = 14336, .kv_heads = 8, .positions = 131072, .eps = 1e-5}, where);
  read_window(json, d.config, true, value_or<int64_t>(json, "sliding_window", 0, where), [](int64_t) { return true; }, where);
  moe::Config moe;
  moe.experts = value_or<int64_t>(json, "num_local_experts", 8, where);
  moe.top_k = value_or<int64_t>(json, "num_experts_per_tok", 2, where);
  moe.placement = "all";
  moe.router = "topk";
  d.config.moe = moe;
  d.replacements = {{".mlp.gate.", ".block_sparse_moe.gate."},
                    {".mlp.experts.", ".block_sparse_moe.experts."},
                    {".gate_proj.", ".w1."},
                    {".up_proj.", ".w3."},
                    {".down_proj.", ".w2."}};
  return d;
}

ImportedDecoder read_qwen2_moe(const Json& json, const std::string& where) {
  language::Config c = llama_like(json, {.vocabulary = 151936, .width = 2048, .intermediate = 5632, .layers = 24, .heads = 16,
                                         .kv_heads = 16, .positions = 32768}, where);
  c.qkv_bias = value_or(json, "qkv_bias", true, where);
  read_qwen_window(json, c, [](int64_t i, int64_t limit) { return (i + 1) % 2 != 0 && i < limit; }, where);
  moe::Config moe;
  moe.experts = value_or<int64_t>(json, "num_experts", 60, where);
  moe.top_k = value_or<int64_t>(json, "num_experts_per_tok", 4, where);
  moe.intermediate = value_or<int64_t>(json, "moe_intermediate_size", 1408, where);
  moe.shared_ffn = value_or<int64_t>(json, "shared_expert_intermediate_size", 5632, where);
  moe.normalise_top_k = value_or(json, "norm_topk_prob", false, where);
  moe.router = "topk";
  moe.placement = "listed";
  const auto step = value_or<int64_t>(json, "decoder_sparse_step", 1, where);
  if (step < 1) refuse(where, "decoder_sparse_step", step, "1 or more");
  const auto dense = value_or<std::vector<int64_t>>(json, "mlp_only_layers", {}, where);
  for (int64_t i = 0; i < c.layers; ++i) {
    if ((i + 1) % step == 0 && std::find(dense.begin(), dense.end(), i) == dense.end()) moe.layers.push_back(i);
  }
  if (!moe.layers.empty()) c.moe = moe;
  return {c};
}

struct Family {
  const char* model_type;
  ImportedDecoder (*read)(const Json&, const std::string&);
};
constexpr std::array kFamilies{Family{"llama", read_llama},       Family{"mistral", read_mistral},
                               Family{"qwen2", read_qwen2},       Family{"qwen", read_qwen},
                               Family{"stablelm", read_stablelm}, Family{"stablelm_epoch", read_stablelm},
                               Family{"phi", read_phi},           Family{"mixtral", read_mixtral},
                               Family{"qwen2_moe", read_qwen2_moe}};

}  // namespace

ImportedDecoder import_decoder(const Json& json, const std::string& where) {
  const std::string type = json_string(json, "model_type", where);
  std::vector<std::string> known;
  for (const Family& family : kFamilies) {
    if (type == family.model_type) return family.read(json, where);
    known.emplace_back(family.model_type);
  }
  refuse(where, "model_type", type, join(known, ", "));
}

}  // namespace mose::models
