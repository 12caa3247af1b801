#include "mose/language/backbone.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/language/llama.h"

namespace mose::language {

void Config::visit(FieldVisitor& v) {
  v.field("type", type, "decoder family", {"llama"});
  v.field("vocab_size", vocab_size, "entries of the embedding", 1, 1e7);
  v.field("hidden_size", hidden_size, "model width D", 1, 1e6);
  v.field("intermediate_size", intermediate_size, "FFN width F", 1, 1e6);
  v.field("layers", layers, "decoder layers", 1, 1000);
  v.field("heads", heads, "attention heads", 1, 1024);
  v.field("kv_heads", kv_heads, "heads of keys and values; divides heads", 1, 1024);
  v.field("head_dim", head_dim, "width of one head; 0 = hidden_size / heads", 0, 4096);
  v.field("rope_theta", rope_theta, "base of the rotary embedding", 1, 1e9);
  v.field("rotary_fraction", rotary_fraction, "part of a head's width that the rotary embedding turns", 0, 1);
  v.group("rope_scaling", rope_scaling, "rotary embedding stretched to long contexts; null = as trained");
  v.field("norm", norm, "rms (RMSNorm) or layer (LayerNorm)", {"rms", "layer"});
  v.field("norm_eps", norm_eps, "epsilon of the norms", 0, 1);
  v.field("ffn", ffn, "swiglu, or gelu: two matrices with biases", {"swiglu", "gelu"});
  v.field("parallel", parallel, "attention and FFN read one norm and are added together");
  v.field("qkv_bias", qkv_bias, "biases in the query, key and value projections");
  v.field("out_bias", out_bias, "bias in attention's output projection");
  v.field("ffn_bias", ffn_bias, "biases in dense swiglu FFNs (gelu always has them)");
  v.field("head_bias", head_bias, "bias in the head; needs tie_embeddings false");
  v.field("tie_embeddings", tie_embeddings, "the head shares the embedding's weight");
  v.field("max_positions", max_positions, "longest sequence", 1, 1e8);
  v.field("sliding_window", sliding_window, "rows that a row of sliding_layers sees back to, itself included; 0 = all", 0, 1e8);
  v.field("sliding_layers", sliding_layers, "layers with a sliding window");
  v.field("ffn_copies", ffn_copies, "width factor of the dense FFNs of wide_layers", 1, 64);
  v.field("wide_layers", wide_layers, "layers whose dense FFN is ffn_copies times as wide");
  v.group("moe", moe, "sparse layers; null for a dense decoder");
}

int64_t Config::rotary_width() const {
  return static_cast<int64_t>(static_cast<double>(head_width()) * rotary_fraction);
}

std::shared_ptr<LanguageBackbone> make_backbone(const Config& config, const moe::SkillMap* skills) {
  if (config.heads % config.kv_heads != 0) {
    throw UsageError(str("language.kv_heads = ", config.kv_heads, ": expected a divisor of heads = ",
                         config.heads));
  }
  if (config.head_dim == 0 && config.hidden_size % config.heads != 0) {
    throw UsageError(str("language.heads = ", config.heads, ": expected a divisor of hidden_size = ",
                         config.hidden_size, ", or a head_dim"));
  }
  if (config.rotary_width() % 2 != 0 || config.rotary_width() == 0) {
    throw UsageError(str("language: rotary embedding turns ", config.rotary_width(), " of a head's ", config.head_width(),
                         " numbers; expected an even number of at least 2"));
  }
  if (config.head_bias && config.tie_embeddings) {
    throw UsageError("language.head_bias: a head that shares the embedding's weight has no bias");
  }
  if (config.type == "llama") return make_llama(config, skills);
  throw UsageError("language.type = \"" + config.type + "\": known types: llama");
}

nn::KvCache make_cache(const Config& config, int64_t places, int64_t capacity,
                       torch::TensorOptions options) {
  return nn::KvCache(config.layers, places, config.kv_heads, capacity, config.head_width(), options);
}

}  // namespace mose::language
