#include "bench/shape_r.h"

#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr const char* kWeights = "weights.safetensors";

}  // namespace

ShapeR make_shape_r() {
  models::Config config;
  config.vision.stem = "patch";
  config.vision.image_height = config.vision.image_width = 32;
  config.vision.hidden_size = config.vision.intermediate_size = 16;
  config.vision.layers = config.vision.heads = 1;
  auto& language = config.language;
  language.vocab_size = 32000;
  language.hidden_size = kWidth;
  language.intermediate_size = kIntermediate;
  language.layers = 8;
  language.heads = 8;
  language.kv_heads = 4;
  language.moe.emplace();
  language.moe->experts = kExperts;
  language.moe->top_k = kTopK;
  language.moe->router = "topk";
  language.moe->placement = "listed";
  language.moe->layers = {1, 3, 5, 7};
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  ShapeR shape;
  shape.model = models::make_model(config, 3, &taxonomy);
  const std::string prefix = "model.language_model.";
  for (const auto& item : shape.model->named_parameters()) {
    if (item.key().starts_with(prefix)) shape.parameters.emplace_back("model." + item.key().substr(prefix.size()), item.value());
  }
  return shape;
}

std::string ShapeR::about() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : parameters) count += tensor.numel();
  return str("shape r, ", human_count(static_cast<double>(count)), " parameters, float32");
}

double share_a_token(const std::string& parameter) {
  return parameter.find("experts") == std::string::npos ? 1 : static_cast<double>(kTopK) / kExperts;
}

void write_weights(const ShapeR& shape, const std::filesystem::path& folder) {
  io::TensorMap tensors;
  for (const auto& [name, tensor] : shape.parameters) tensors[name] = tensor.detach();
  io::save_safetensors(folder / kWeights, tensors);
}

Json peer_model(const ShapeR& shape, const std::filesystem::path& folder, const std::string& experts, int64_t threads) {
  const auto& c = shape.model->config().language;
  const Json config = {{"vocab_size", c.vocab_size}, {"hidden_size", c.hidden_size}, {"intermediate_size", c.intermediate_size},
                       {"moe_intermediate_size", c.intermediate_size}, {"num_hidden_layers", c.layers}, {"num_attention_heads", c.heads},
                       {"num_key_value_heads", c.kv_heads}, {"num_experts", c.moe->experts}, {"num_experts_per_tok", c.moe->top_k},
                       {"rms_norm_eps", c.norm_eps}, {"max_position_embeddings", c.max_positions}, {"tie_word_embeddings", c.tie_embeddings}};
  return {{"weights", (folder / kWeights).string()}, {"config", config}, {"rope_theta", c.rope_theta}, {"experts", experts}, {"threads", threads}};
}

}  // namespace mose::bench
