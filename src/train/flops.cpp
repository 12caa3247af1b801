#include "train/flops.h"

#include <torch/torch.h>

#include <chrono>

namespace mose::train {

double StepFlops::of(const data::Batch& batch) const {
  const auto tiles = static_cast<double>(batch.pixels_BCHW.defined() ? batch.pixels_BCHW.size(0) : 0);
  return row * static_cast<double>(batch.plan.tokens()) + target * static_cast<double>(batch.supervised) + tile * tiles;
}

StepFlops step_flops(const models::VisionLanguageModel& model) {
  const auto& config = model.config();
  const auto has = [](const std::string& name, const char* part) { return name.find(part) != std::string::npos; };
  const double chosen = config.language.moe ? static_cast<double>(config.language.moe->top_k) / static_cast<double>(config.language.moe->experts) : 1;
  StepFlops out;
  bool learns_before = false;  // parameters come in the order of the forward pass, but for a tied head
  double head_size = 0;
  bool head_learns = false;
  for (const auto& item : model.named_parameters()) {
    const std::string& name = item.key();
    const bool learns = item.value().requires_grad();
    const bool table = has(name, "embed");  // looked up, not multiplied
    const bool head = has(name, "lm_head.") || (has(name, "embed_tokens.") && config.language.tie_embeddings);
    const auto size = static_cast<double>(item.value().numel());
    if (head && item.value().dim() >= 2) {
      head_size = size;
      head_learns = learns;
    } else if (item.value().dim() >= 2 && !table) {
      const double flops = 2 * size * ((learns_before ? 2 : 1) + (learns ? 1 : 0));
      if (has(name, "vision_tower.") || has(name, "region_head.")) out.tile += flops * static_cast<double>(config.vision.patches());
      else if (has(name, "multi_modal_projector.")) out.tile += flops * static_cast<double>(config.image_tokens());
      else out.row += flops * (has(name, ".experts.") ? chosen : 1);
    }
    learns_before = learns_before || learns;
  }
  out.target = 2 * head_size * ((learns_before ? 2 : 1) + (head_learns ? 1 : 0));
  return out;
}

double measure_peak_flops(torch::Device device, torch::ScalarType type) {
  const torch::NoGradGuard no_grad;
  const int64_t side = device.is_cpu() ? 1024 : 8192;
  const auto a = torch::rand({side, side}, torch::dtype(type).device(device)), b = torch::rand_like(a);
  torch::Tensor out = torch::mm(a, b);
  double best = 0;
  for (int i = 0; i < 5; ++i) {
    if (!device.is_cpu()) out.view({-1})[0].item<float>();  // waits for the device
    const auto begin = std::chrono::steady_clock::now();
    at::mm_out(out, a, b);
    if (!device.is_cpu()) out.view({-1})[0].item<float>();
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    best = std::max(best, 2.0 * static_cast<double>(side) * static_cast<double>(side) * static_cast<double>(side) / seconds);
  }
  return best;
}

}  // namespace mose::train
