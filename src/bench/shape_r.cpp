#include "bench/shape_r.h"

#include "mose/core/memory.h"
#include "mose/core/resources.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"

namespace mose::bench {
namespace {

constexpr const char* kWeights = "weights.safetensors";

std::vector<int64_t> every_second(int64_t layers) {
  std::vector<int64_t> second;
  for (int64_t i = 1; i < layers; i += 2) second.push_back(i);
  return second;
}

ShapeR make(torch::Dtype type, int64_t layers, const std::vector<int64_t>& sparse, int64_t dense) {
  models::Config config;
  config.vision.stem = "patch";
  config.vision.image_height = config.vision.image_width = 32;
  config.vision.hidden_size = config.vision.intermediate_size = 16;
  config.vision.layers = config.vision.heads = 1;
  auto& language = config.language;
  language.vocab_size = 32000;
  language.hidden_size = kWidth;
  language.intermediate_size = kIntermediate;
  language.layers = layers;
  language.heads = 8;
  language.kv_heads = 4;
  if (dense > 0) {
    language.ffn_copies = dense;
    language.wide_layers = sparse;
  } else {
    language.moe.emplace();
    language.moe->experts = kExperts;
    language.moe->top_k = kTopK;
    language.moe->router = "topk";
    language.moe->placement = "listed";
    language.moe->layers = sparse;
  }
  const auto taxonomy = skills::Taxonomy::load(resource("skills/driving.json"));
  ShapeR shape;  // in large pages, as a loaded model is
  shape.model = models::make_model(config, 3, dense > 0 ? nullptr : &taxonomy);
  shape.model->to(type);
  for (const auto& weight : shape.model->parameters()) use_large_pages(weight.const_data_ptr(), weight.nbytes());
  const std::string prefix = "model.language_model.";
  for (const auto& item : shape.model->named_parameters()) {
    if (item.key().starts_with(prefix)) shape.parameters.emplace_back("model." + item.key().substr(prefix.size()), item.value());
  }
  return shape;
}

}  // namespace

std::string type_name(torch::Dtype type) { return type == torch::kBFloat16 ? "bfloat16" : "float32"; }

ShapeR make_shape_r(torch::Dtype type, int64_t layers, int64_t dense) { return make(type, layers, every_second(layers), dense); }

ShapeR make_shape_r_sparse_last(torch::Dtype type) { return make(type, 8, {4, 5, 6, 7}, 0); }

std::string ShapeR::about() const {
  int64_t count = 0;
  for (const auto& [name, tensor] : parameters) count += tensor.numel();
  const int64_t layers = model->config().language.layers;
  return str("shape r", layers == 8 ? "" : str(" with ", layers, " layers"), ", ", human_count(static_cast<double>(count)), " parameters, ",
             type_name(model->type()));
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
  return {{"weights", (folder / kWeights).string()}, {"config", config}, {"rope_theta", c.rope_theta}, {"experts", experts},
          {"threads", threads}, {"type", type_name(shape.model->type())}};
}

Json llama_cpp_model(const ShapeR& shape, const std::filesystem::path& folder, int64_t threads) {
  const auto& c = shape.model->config().language;
  return {{"weights", (folder / kWeights).string()}, {"file", (folder / "weights.gguf").string()}, {"layers", c.layers}, {"width", c.hidden_size},
          {"intermediate", c.intermediate_size}, {"heads", c.heads}, {"kv_heads", c.kv_heads}, {"experts", c.moe->experts},
          {"top_k", c.moe->top_k}, {"first_sparse", c.moe->layers.front()}, {"positions", c.max_positions}, {"norm_eps", c.norm_eps},
          {"rope_theta", c.rope_theta}, {"vocabulary", c.vocab_size}, {"threads", threads}};
}

}  // namespace mose::bench
