#include "mose/models/vlm.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/strings.h"
#include "mose/nn/init.h"
#include "mose/nn/int8.h"
#include "mose/nn/lora.h"

namespace mose::models {

using torch::Tensor;

void Config::visit(FieldVisitor& v) {
  v.group("vision", vision, "vision tower");
  v.group("projector", projector, "from tower to decoder");
  v.group("language", language, "decoder");
  v.field("chat_template", chat_template, "how a question becomes a prompt");
  v.field("image_token_id", image_token_id, "token that stands for one image row", -1, 1e7);
  v.field("region_categories", region_categories, "categories of the region head; empty = none; in a recipe [\"*\"] = all of the training split");
  v.list("grid_pinpoints", grid_pinpoints,
         "sizes at which an image is also seen tile by tile (LLaVA-NeXT's anyres; multiples of the tower's frame); empty = one frame an image");
}

vision::Tiling Config::tiling() const {
  return {{vision.image_width, vision.image_height}, vision.grid_width() / projector.merge, vision.grid_height() / projector.merge,
          image_tokens(), grid_pinpoints};
}

namespace {

// The assignment as data: skill name -> experts that serve it.
Json assignment_table(const Tensor& assignment_SE, const skills::Taxonomy& taxonomy) {
  Json table = Json::object();
  const auto a = assignment_SE.accessor<float, 2>();
  for (int64_t s = 0; s < a.size(0); ++s) {
    Json experts = Json::array();
    for (int64_t e = 0; e < a.size(1); ++e) {
      if (a[s][e] > 0) experts.push_back(e);
    }
    table[taxonomy.skills()[static_cast<size_t>(s)].name] = std::move(experts);
  }
  return table;
}

}  // namespace

VisionLanguageModel::VisionLanguageModel(Config config, const skills::Taxonomy* taxonomy,
                                         const std::vector<double>& skill_mass)
    : config_(std::move(config)) {
  auto& language = config_.language;
  if (language.moe) {
    if (!taxonomy) throw Error("a sparse model needs the skill taxonomy");
    skills_ = moe::make_skill_map(*language.moe, *taxonomy, skill_mass);
    language.moe->table = assignment_table(skills_->assignment_SE, *taxonomy);
    language.moe->assignment = "table";
  }
  auto model = register_module("model", std::make_shared<torch::nn::Module>());
  tower_ = model->register_module("vision_tower", vision::make_tower(config_.vision));
  projector_ = model->register_module(
      "multi_modal_projector",
      std::make_shared<vision::Projector>(config_.projector, config_.vision, language.hidden_size));
  if (!config_.grid_pinpoints.empty()) {
    vision::check_tiling(config_.tiling());
    newline_D_ = model->register_parameter(
        "image_newline", nn::normal({language.hidden_size}, 1 / std::sqrt(static_cast<double>(language.hidden_size))));
  }
  language_ = model->register_module("language_model",
                                     language::make_backbone(language, skills_ ? &*skills_ : nullptr));
  if (!language.tie_embeddings) {
    lm_head_ = register_module("lm_head", std::make_shared<nn::Linear>(language.hidden_size, language.vocab_size, language.head_bias));
  }
  if (!config_.region_categories.empty()) {
    if (config_.vision.drop_first_patch) throw UsageError("region_categories: needs every patch of the tower's grid (vision.drop_first_patch)");
    region_head_ = register_module(
        "region_head", std::make_shared<nn::Linear>(config_.vision.hidden_size,
                                                    static_cast<int64_t>(config_.region_categories.size()), true));
  }
}

// The whole frame's rows, then the canvas' cells line by line without the border, a newline after each line.
Tensor VisionLanguageModel::decoder_rows(const Tensor& embeddings_NQD, const std::vector<vision::ImageLayout>& layouts) const {
  if (!newline_D_.defined()) return embeddings_NQD.flatten(0, 1);
  const vision::Tiling tiling = config_.tiling();
  const int64_t D = embeddings_NQD.size(2);
  std::vector<Tensor> parts;
  int64_t tile = 0;
  for (const auto& l : layouts) {
    parts.push_back(embeddings_NQD[tile]);
    const auto grid_HWD = embeddings_NQD.narrow(0, tile + 1, l.tiles() - 1)
                              .reshape({l.tiles_down, l.tiles_across, tiling.cells_down, tiling.cells_across, D})
                              .transpose(1, 2)
                              .reshape({l.tiles_down * tiling.cells_down, l.tiles_across * tiling.cells_across, D});
    const auto shown_HWD = grid_HWD.narrow(0, l.top, l.height).narrow(1, l.left, l.width);
    parts.push_back(torch::cat({shown_HWD, newline_D_.to(shown_HWD.dtype()).expand({l.height, 1, D})}, 1).flatten(0, 1));
    tile += l.tiles();
  }
  return torch::cat(parts);
}

ImageFeatures VisionLanguageModel::encode_images(const Tensor& pixels_NCHW, const std::vector<vision::ImageLayout>& layouts,
                                                 bool recompute) {
  return project(tower_features(pixels_NCHW, recompute), layouts);
}

Tensor VisionLanguageModel::tower_features(const Tensor& pixels_NCHW, bool recompute) {
  const Tensor pixels = pixels_NCHW.to(type());
  if (!pixels.is_cpu() || nn::learns(*tower_)) return tower_->forward(pixels, recompute);
  // A CPU's 3x3 convolution rounds by the number of images it is given, and features that are kept must not. One by one takes
  // 10 to 30 % longer.
  std::vector<Tensor> tiles;
  for (const Tensor& tile : pixels.split(1)) tiles.push_back(tower_->forward(tile));
  return torch::cat(tiles);
}

ImageFeatures VisionLanguageModel::project(const Tensor& tower_NPD, const std::vector<vision::ImageLayout>& layouts) const {
  const auto& v = config_.vision;
  if (tower_NPD.dim() != 3 || tower_NPD.size(1) != v.patches() || tower_NPD.size(2) != v.hidden_size) {
    throw Error(mose::str("project: expected a tower's features [N, ", v.patches(), ", ", v.hidden_size, "], found ", tower_NPD.sizes()));
  }
  std::vector<int64_t> whole;  // the tile that shows each whole image
  int64_t tiles = 0;
  for (const auto& layout : layouts) {
    if ((layout.tiles() > 1) != newline_D_.defined()) {
      throw Error(str("an image of ", layout.tiles(), " tiles for a model with", newline_D_.defined() ? "" : "out", " pinpoints"));
    }
    if (layout.frame_rows != config_.image_tokens()) {
      throw Error(str("a layout of ", layout.frame_rows, " rows a frame for a model of ", config_.image_tokens()));
    }
    whole.push_back(tiles);
    tiles += layout.tiles();
  }
  if (layouts.empty() ? newline_D_.defined() : tiles != tower_NPD.size(0)) {
    throw Error(str("the layouts of ", layouts.size(), " images ask for ", tiles, " tiles, found ", tower_NPD.size(0)));
  }
  ImageFeatures features;
  features.tower_BPD = tower_NPD;
  features.embeddings_BQD = projector_->forward(features.tower_BPD);
  features.rows_RD = decoder_rows(features.embeddings_BQD, layouts);
  if (newline_D_.defined()) {
    const auto index_B = torch::tensor(whole, torch::kInt64).to(tower_NPD.device());
    features.tower_BPD = features.tower_BPD.index_select(0, index_B);
    features.embeddings_BQD = features.embeddings_BQD.index_select(0, index_B);
  }
  return features;
}

void VisionLanguageModel::calibrate(const Tensor& pixels_BCHW, const Tensor& region_BPC, double positive) {
  constexpr double kRowScale = 0.1;  // image rows start about as long as the embeddings of words
  const torch::NoGradGuard no_grad;
  const auto pixels = pixels_BCHW.to(type());
  tower_->calibrate(pixels);
  projector_->calibrate(tower_->forward(pixels), kRowScale);
  if (!region_head_ || !region_BPC.defined()) return;
  // From zero the first steps would only learn that most patches are empty, and teach the tower one
  // large direction that all patches share (the reason for RetinaNet's prior; Lin et al., 2017).
  const auto share_C = region_BPC.flatten(0, 1).mean(0).clamp(1e-4, 1 - 1e-4);
  region_head_->bias.copy_((positive * share_C / (1 - share_C)).log());
  region_head_->weight.mul_(0.1);
}

Tensor VisionLanguageModel::region_logits(const Tensor& tower_BPD) const {
  if (!region_head_) throw Error("this model has no region head (region_categories is empty)");
  return region_head_->forward(tower_BPD);
}

namespace {

bool contains(const Tensor& tokens_T, int64_t token) {
  const Tensor tokens = tokens_T.contiguous();
  const auto* begin = tokens.const_data_ptr<int64_t>();
  return std::find(begin, begin + tokens.numel(), token) != begin + tokens.numel();
}

}  // namespace

language::LayerOutputs VisionLanguageModel::forward(const Tensor& tokens_T, const nn::SequencePlan& plan,
                                                    const Tensor& images,
                                                    const language::ForwardOptions& options) {
  if (!images.defined() && tokens_T.is_cpu() && !contains(tokens_T, config_.image_token_id)) {
    return language_->forward(language_->embed(tokens_T), plan, options);
  }
  // The image token may lie outside the vocabulary (LLaVA's own checkpoints): its embedding is never read.
  const auto image_T = tokens_T == config_.image_token_id;
  auto x_TD = language_->embed(tokens_T.masked_fill(image_T, 0));
  if (images.defined()) {
    const auto rows_RD = images.reshape({-1, images.size(-1)});
    // Counting makes the host wait for a GPU, which therefore is told how many there are.
    if (!image_T.is_cpu()) at::_assert_async(image_T.sum() == rows_RD.size(0), "the stream's image tokens are not as many as the images' rows");
    const auto rows = image_T.is_cpu() ? image_T.nonzero().squeeze(1) : at::nonzero_static(image_T, rows_RD.size(0)).squeeze(1);
    if (rows.numel() != rows_RD.size(0)) {
      throw Error(str("the stream has ", rows.numel(), " image tokens, the images make ", rows_RD.size(0), " rows"));
    }
    x_TD = x_TD.index_copy(0, rows, rows_RD.to(x_TD.dtype()));
  }
  return language_->forward(x_TD, plan, options);
}

Tensor VisionLanguageModel::logits(const Tensor& hidden_RD) const {
  if (lm_head_) return lm_head_->forward(hidden_RD);
  return nn::linear(hidden_RD, head_int8_.defined() ? head_int8_ : language_->embedding_weight());
}

nn::VocabularyLoss VisionLanguageModel::vocabulary_loss(const Tensor& hidden_RD, const Tensor& targets_R,
                                                        const Tensor& weights_R) const {
  if (lm_head_ && lm_head_->lora) {  // the adapter's part has gradients of its own
    const Tensor losses_R = at::cross_entropy_loss(logits(hidden_RD).to(torch::kFloat32), targets_R, {}, at::Reduction::None);
    return {(losses_R * weights_R).sum(), losses_R.detach()};
  }
  if (lm_head_) return nn::vocabulary_loss(hidden_RD, lm_head_->weight, lm_head_->bias, targets_R, weights_R);
  return nn::vocabulary_loss(hidden_RD, language_->embedding_weight(), {}, targets_R, weights_R);
}

void VisionLanguageModel::use_int8_weights() {
  if (!device().is_cpu()) throw Error("8-bit weights: for models on the CPU");
  const torch::NoGradGuard no_grad;
  for (auto& place : nn::lora_places(*this)) {
    const bool decoder = place.name.starts_with("model.language_model.") || place.name == "lm_head";
    if (!decoder || (place.weight.dim() == 3 && !place.name.ends_with("_proj"))) continue;
    if (*place.adapter) throw Error(str("8-bit weights: ", place.name, " has an adapter; merge it first"));
    place.weight.requires_grad_(false);
    place.weight.set_data(nn::pack_int8(place.weight));
    use_large_pages(place.weight.const_data_ptr(), place.weight.nbytes());
  }
  if (lm_head_) return;
  head_int8_ = nn::pack_int8(language_->embedding_weight());
  use_large_pages(head_int8_.const_data_ptr(), head_int8_.nbytes());
}

const moe::SkillMap& VisionLanguageModel::skill_map() const {
  if (!skills_) throw Error("a dense model has no skill map");
  return *skills_;
}

torch::Dtype VisionLanguageModel::type() const { return language_->embedding_weight().scalar_type(); }

torch::Device VisionLanguageModel::device() const { return language_->embedding_weight().device(); }

std::shared_ptr<VisionLanguageModel> make_model(const Config& config, uint64_t seed,
                                                const skills::Taxonomy* taxonomy,
                                                const std::vector<double>& skill_mass) {
  torch::manual_seed(seed);
  return std::make_shared<VisionLanguageModel>(config, taxonomy, skill_mass);
}

}  // namespace mose::models
