// Llama and what is built like it, by fields of the config:
//
//   Llama 1 to 3, Mistral   as it is; rope_scaling (Llama 3.1)
//   Qwen, Qwen2             qkv_bias; sliding_window
//   StableLM-2              norm "layer", rotary_fraction 0.25, qkv_bias
//   Phi-1.5, Phi-2          norm "layer", ffn "gelu", parallel, all biases, rotary_fraction 0.4 to 0.5
//   Mixtral, Qwen2-MoE      moe
//
//   serial    x += attention(norm_1(x)); x += ffn(norm_2(x))
//   parallel  x += attention(norm(x)) + ffn(norm(x))
//
// the FFN dense or sparse by layer.
#pragma once

#include "mose/language/backbone.h"

namespace mose::language {

// Parameters as in transformers: embed_tokens, layers.{i}.{input_layernorm, self_attn.{q,k,v,o}_proj,
// post_attention_layernorm (unless parallel), mlp}, norm. `skills` is needed when config.moe is set.
std::shared_ptr<LanguageBackbone> make_llama(const Config& config, const moe::SkillMap* skills);

}  // namespace mose::language
