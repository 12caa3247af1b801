#include "bench/llava.h"

#include "bench/corpus.h"
#include "bench/shape_r.h"
#include "mose/core/resources.h"
#include "mose/models/export.h"

namespace mose::bench {

models::Bundle make_llava(int64_t layers) {
  constexpr int64_t kVocabulary = 4000;
  models::Config config = make_shape_r(torch::kFloat32, layers).model->config();
  config.vision = {};
  config.vision.type = "clip";
  config.vision.image_height = config.vision.image_width = 160;
  config.vision.hidden_size = 384;
  config.vision.intermediate_size = 1536;
  config.vision.layers = 6;
  config.projector.merge = 1;
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  auto tokenizer = text::train_byte_bpe(driving_texts(0, 200'000), kVocabulary, {"<image>", "<|im_start|>", "<|im_end|>"});
  config.image_token_id = tokenizer.token_to_id("<image>");
  vision::PreprocessConfig preprocess;
  preprocess.width = preprocess.height = 160;
  preprocess.filter = "bicubic";
  return {models::make_model(config, 4, &taxonomy), std::move(tokenizer), preprocess, taxonomy};
}

void save_llava(const models::Bundle& bundle, const std::filesystem::path& folder) {
  models::save_bundle(folder / "ours", bundle);
  models::export_hugging_face(folder / "ours", folder / "theirs");
}

}  // namespace mose::bench
