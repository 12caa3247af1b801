// A model small enough for unit tests, on the default taxonomy.
#pragma once

#include "mose/core/resources.h"
#include "mose/models/vlm.h"
#include "mose/skills/taxonomy.h"
#include "mose/text/tokenizer.h"

namespace mose::tests {

inline const skills::Taxonomy& taxonomy() {
  static const auto loaded = skills::Taxonomy::load(resource("skills/driving.json"));
  return loaded;
}

inline text::Tokenizer tiny_tokenizer() {
  return text::train_byte_bpe({"A red car stands in the ego lane. Slow down and keep distance."}, 300,
                              {"<image>", "<|im_start|>", "<|im_end|>"});
}

// 32 x 64 pixels, 8 patches, 2 image tokens; 4 decoder layers of width 24 with odd sizes elsewhere.
inline models::Config tiny_config() {
  models::Config c;
  c.vision.image_height = 32;
  c.vision.image_width = 64;
  c.vision.patch_size = 16;
  c.vision.stem_width = 4;
  c.vision.hidden_size = 16;
  c.vision.intermediate_size = 20;
  c.vision.layers = 1;
  c.vision.heads = 2;
  c.projector.merge = 2;
  c.language.vocab_size = 300;
  c.language.hidden_size = 24;
  c.language.intermediate_size = 20;
  c.language.layers = 4;
  c.language.heads = 4;
  c.language.kv_heads = 2;
  c.image_token_id = 299;
  return c;
}

inline moe::Config tiny_moe(const std::string& router = "hierarchical_skill") {
  moe::Config moe;
  moe.experts = 4;
  moe.top_k = 2;
  moe.router = router;
  return moe;
}

inline std::shared_ptr<models::VisionLanguageModel> tiny_sparse_model(uint64_t seed) {
  auto config = tiny_config();
  config.language.moe = tiny_moe();
  return models::make_model(config, seed, &taxonomy());
}

}  // namespace mose::tests
