#include "mose/infer/patch_routing.h"

#include <torch/torch.h>

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::infer {

using torch::Tensor;

namespace {

std::vector<int64_t> values(const Tensor& indices) {
  const auto host = indices.to(torch::kCPU, torch::kInt64).contiguous();
  return {host.data_ptr<int64_t>(), host.data_ptr<int64_t>() + host.numel()};
}

// The frame's pixels as they were before normalisation.
Tensor frame_of(const vision::Picture& picture, const vision::PreprocessConfig& config) {
  const auto channel = [](const std::vector<double>& v) { return torch::tensor(v, torch::kFloat64).view({3, 1, 1}); };
  const auto value = picture.tiles_NCHW[0].to(torch::kCPU, torch::kFloat64) * channel(config.std) + channel(config.mean);
  return (value * 255).round().clamp(0, 255).to(torch::kUInt8);
}

}  // namespace

PatchRouting patch_routing(const language::LayerRouting& layer, int64_t first, int64_t across, int64_t down) {
  const auto& r = layer.routing;
  PatchRouting out{layer.layer, across, down, {}, {}};
  out.expert = values(r.experts_TK.narrow(0, first, across * down).select(1, 0));
  out.skill.assign(out.expert.size(), -1);
  if (r.skill_logits_TS) out.skill = values(r.skill_logits_TS->narrow(0, first, across * down).argmax(1));
  return out;
}

std::vector<PatchRouting> route_patches(models::VisionLanguageModel& model, const Prompt& prompt) {
  if (!model.sparse()) throw UsageError("routing: this model has no sparse layer");
  const auto found = std::find(prompt.tokens.begin(), prompt.tokens.end(), model.config().image_token_id);
  if (prompt.pictures.empty() || found == prompt.tokens.end()) throw UsageError("routing: the prompt has no picture");
  const auto tiling = model.config().tiling();
  if (tiling.frame_rows != tiling.cells_across * tiling.cells_down) {
    throw UsageError(str("routing: the frame of ", tiling.cells_across, " x ", tiling.cells_down, " cells has ", tiling.frame_rows,
                         " rows of the decoder; a cell without a row has no expert"));
  }
  const torch::NoGradGuard no_grad;
  const auto device = model.device();
  std::vector<Tensor> tiles;
  std::vector<vision::ImageLayout> layouts;
  for (const auto& picture : prompt.pictures) {
    tiles.push_back(picture.tiles_NCHW);
    layouts.push_back(picture.layout);
  }
  const auto images = model.encode_images(torch::cat(tiles).to(device), layouts).rows_RD;
  const auto tokens = torch::tensor(prompt.tokens, torch::kInt64).to(device);
  const auto outputs = model.forward(tokens, nn::make_plan({tokens.size(0)}, device), images);
  std::vector<PatchRouting> out;
  for (const auto& layer : outputs.routings) {
    out.push_back(patch_routing(layer, found - prompt.tokens.begin(), tiling.cells_across, tiling.cells_down));
  }
  return out;
}

std::vector<std::string> expert_names(const models::VisionLanguageModel& model, const skills::Taxonomy& taxonomy) {
  const auto& moe = *model.config().language.moe;
  const bool taught = moe.router == "skill" || moe.router == "hierarchical_skill";
  const auto assignment_SE = taught ? model.skill_map().assignment_SE.to(torch::kCPU) : Tensor();
  std::vector<std::string> out;
  for (int64_t e = 0; e < moe.experts; ++e) {
    std::vector<std::string> own;
    for (int64_t s = 0; taught && s < assignment_SE.size(0); ++s) {
      if (assignment_SE[s][e].item<double>() > 0) own.push_back(taxonomy.skills()[static_cast<size_t>(s)].name);
    }
    out.push_back(str("expert ", e, own.empty() ? "" : ": ", join(own, ", ")));
  }
  return out;
}

vision::Overlay draw_routing(const models::Bundle& bundle, const vision::Picture& picture, const std::vector<PatchRouting>& layers) {
  std::vector<vision::CellPanel> panels;
  const auto names = expert_names(*bundle.model, bundle.taxonomy);
  std::vector<int64_t> counts(names.size(), 0);
  int64_t cells = 0;
  for (const auto& layer : layers) {
    panels.push_back({str("layer ", layer.layer), layer.across, layer.down, layer.expert});
    for (const int64_t expert : layer.expert) ++counts[static_cast<size_t>(expert)];
    cells += static_cast<int64_t>(layer.expert.size());
  }
  std::vector<vision::LegendLine> legend;
  for (size_t e = 0; e < names.size(); ++e) {
    const double share = 100.0 * static_cast<double>(counts[e]) / static_cast<double>(cells);
    legend.push_back({static_cast<int64_t>(e), str(fixed(share, 0), " %  ", names[e])});
  }
  return vision::draw_cells(frame_of(picture, bundle.preprocess), panels, legend);
}

}  // namespace mose::infer
