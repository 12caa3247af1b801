// One model, computed every way we have, for tests/parity/models.py to hold against transformers.
//
//   model_for_parity MODEL_DIR IN.safetensors OUT.safetensors [ADAPTER_DIR]
//
// IN: input_ids [T] (image tokens included), pixels [N, 3, H, W] (all tiles), image_sizes [B, 2] (height, width; one
// image of one tile without it). OUT: logits [T, V]; cached_logits [T, V],
// where the last rows came one by one out of a cache; hidden.{i} [T, D], what enters layer i, and after the
// last norm; greedy [64], the answer to input_ids; loss, the next token's mean cross-entropy over text, and
// grad.{parameter} of it. With an adapter it is attached, the model is frozen, and the gradients are those of
// {layer}.lora_A and lora_B.
#include <torch/torch.h>

#include <iostream>

#include "mose/infer/generator.h"
#include "mose/io/safetensors.h"
#include "mose/models/adapter.h"
#include "mose/models/bundle.h"

namespace {

using namespace mose;
using torch::Tensor;

constexpr int64_t kDecoded = 12, kGreedy = 64;

Tensor cached_logits(models::VisionLanguageModel& model, const Tensor& ids_T, const Tensor& images_RD) {
  const int64_t T = ids_T.size(0), prefill = T - kDecoded;
  auto cache = language::make_cache(model.config().language, 1, T, torch::dtype(torch::kFloat32));
  language::ForwardOptions options;
  options.cache = &cache;
  std::vector<Tensor> out{model.logits(model.forward(ids_T.narrow(0, 0, prefill), nn::make_plan({prefill}), images_RD, options).hidden_TD)};
  for (int64_t t = prefill; t < T; ++t) {
    const auto plan = nn::make_plan({1}, torch::kCPU, cache.lengths());
    out.push_back(model.logits(model.forward(ids_T.narrow(0, t, 1), plan, {}, options).hidden_TD));
  }
  return torch::cat(out);
}

void run(const std::string& dir, const std::string& in, const std::string& file, const std::string& adapter) {
  const auto bundle = models::load_bundle(dir);
  auto& model = *bundle.model;
  nn::Adapters adapters;
  if (!adapter.empty()) {
    adapters = models::read_adapter(adapter, model);
    nn::attach_lora(model, adapters);
    for (auto& p : model.parameters()) p.set_requires_grad(false);
    for (auto& [name, lora] : adapters) {
      lora->A.requires_grad_();
      lora->B.requires_grad_();
    }
  }
  const auto input = io::StateDict::open(in);
  const Tensor ids_T = input.get("input_ids"), pixels = input.get("pixels");
  const int64_t T = ids_T.size(0);
  io::TensorMap out;

  const Tensor sizes = input.has("image_sizes") ? input.get("image_sizes") : torch::ones({1, 2}, torch::kInt64);
  std::vector<vision::ImageLayout> layouts;
  for (int64_t b = 0; b < sizes.size(0); ++b) {
    layouts.push_back(vision::layout_image({sizes[b][1].item<int64_t>(), sizes[b][0].item<int64_t>()}, model.config().tiling()));
  }
  const auto images = model.encode_images(pixels, layouts).rows_RD;
  language::ForwardOptions options;
  options.on_layer_input = [&](int64_t layer, const Tensor& x_TD) { out["hidden." + std::to_string(layer)] = x_TD.detach(); };
  const auto outputs = model.forward(ids_T, nn::make_plan({T}), images, options);
  out["hidden." + std::to_string(model.config().language.layers)] = outputs.hidden_TD.detach();
  const Tensor logits = model.logits(outputs.hidden_TD);
  out["logits"] = logits.detach();

  auto target = ids_T.narrow(0, 1, T - 1);
  target = target.masked_fill(target == model.config().image_token_id, -100);
  const Tensor loss = at::cross_entropy_loss(logits.narrow(0, 0, T - 1), target);
  loss.backward();
  out["loss"] = loss.detach().view({1});
  for (const auto& item : model.named_parameters()) {
    if (item.value().grad().defined()) out["grad." + item.key()] = item.value().grad();
  }
  for (const auto& [name, lora] : adapters) {
    out["grad." + name + ".lora_A"] = lora->A.grad();
    out["grad." + name + ".lora_B"] = lora->B.grad();
  }

  const torch::NoGradGuard no_grad;
  out["cached_logits"] = cached_logits(model, ids_T, images);
  infer::Prompt prompt;
  prompt.tokens.assign(ids_T.data_ptr<int64_t>(), ids_T.data_ptr<int64_t>() + T);
  for (int64_t b = 0, tile = 0; b < sizes.size(0); ++b) {
    const auto& layout = layouts[static_cast<size_t>(b)];
    prompt.pictures.push_back({pixels.narrow(0, tile, layout.tiles()), layout});
    tile += layout.tiles();
  }
  infer::GenerateOptions generate;
  generate.sampling.max_new_tokens = kGreedy;
  out["greedy"] = torch::tensor(infer::generate(model, {prompt}, generate)[0].tokens, torch::kInt64);
  io::save_safetensors(file, out);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc != 4 && argc != 5) {
    std::cerr << "usage: model_for_parity MODEL_DIR IN.safetensors OUT.safetensors [ADAPTER_DIR]\n";
    return 2;
  }
  try {
    run(argv[1], argv[2], argv[3], argc == 5 ? argv[4] : "");
  } catch (const std::exception& e) {
    std::cerr << "model_for_parity: " << e.what() << "\n";
    return 1;
  }
}
