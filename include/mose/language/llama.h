// The Llama family: x += attention(norm(x)); x += ffn(norm(x)), the FFN dense or sparse by layer.
#pragma once

#include "mose/language/backbone.h"

namespace mose::language {

// Parameters as in transformers: embed_tokens, layers.{i}.{input_layernorm, self_attn.{q,k,v,o}_proj,
// post_attention_layernorm, mlp}, norm. `skills` is needed when config.moe is set.
std::shared_ptr<LanguageBackbone> make_llama(const Config& config, const moe::SkillMap* skills);

}  // namespace mose::language
