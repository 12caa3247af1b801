// The whole model: tower, projector, decoder, head.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>
#include <vector>

#include "mose/core/config.h"
#include "mose/language/backbone.h"
#include "mose/nn/fused.h"
#include "mose/skills/taxonomy.h"
#include "mose/vision/image_layout.h"
#include "mose/vision/projector.h"
#include "mose/vision/tower.h"

namespace mose::models {

struct Config {
  vision::Config vision;
  vision::ProjectorConfig projector;
  language::Config language;
  std::string chat_template = "chatml";
  int64_t image_token_id = -1;                 // set when the tokenizer is known; may be outside the vocabulary
  std::vector<std::string> region_categories;  // object categories of the region head; empty = no head
  // Canvases that images are also seen on tile by tile (LLaVA-NeXT's anyres), multiples of the tower's frame; empty =
  // the frame of the whole image alone.
  std::vector<vision::ImageSize> grid_pinpoints;

  int64_t image_tokens() const { return vision::image_tokens(projector, vision); }  // rows of one frame
  // What an image's rows follow from: vision::layout_image(size, config.tiling()).
  vision::Tiling tiling() const;
  void visit(FieldVisitor& v);
};

// B images.
struct ImageFeatures {
  torch::Tensor tower_BPD;       // the tower's patches of the frame of each whole image
  torch::Tensor embeddings_BQD;  // their rows
  torch::Tensor rows_RD;         // all rows for the decoder, image after image
};

// Parameters are named as in transformers 5's LLaVA and LLaVA-NeXT: model.vision_tower.*,
// model.multi_modal_projector.*, model.language_model.*, lm_head.weight (when not tied),
// model.image_newline (with pinpoints) and region_head.* (training only).
class VisionLanguageModel : public torch::nn::Module {
 public:
  // A sparse decoder needs the taxonomy; `skill_mass` (labelled token mass by skill) serves the
  // "auto" assignment. The assignment is then written into config().language.moe as a table, so
  // that a saved model reloads the same one.
  explicit VisionLanguageModel(Config config, const skills::Taxonomy* taxonomy = nullptr,
                               const std::vector<double>& skill_mass = {});

  // `pixels_NCHW` holds the tiles of all images, each image's in the order of vision::Tiles. Without layouts every
  // tile is an image of its own. Error when the layouts ask for another number of tiles. With `recompute` the tower's
  // blocks run again in the backward pass.
  ImageFeatures encode_images(const torch::Tensor& pixels_NCHW, const std::vector<vision::ImageLayout>& layouts = {},
                              bool recompute = false);
  // Its two parts: pixels -> the tower's patches of every tile [N, P, D] -> features. A tile's patches are the same bits
  // whatever tiles it comes with where the tower is frozen and on a CPU (elsewhere they may round differently).
  torch::Tensor tower_features(const torch::Tensor& pixels_NCHW, bool recompute = false);
  ImageFeatures project(const torch::Tensor& tower_NPD, const std::vector<vision::ImageLayout>& layouts = {}) const;
  // Scales a new model's tower and projector to these images, and starts the region head at the
  // log-odds of each category (region_BPC may be undefined), a covered patch weighing `positive`.
  void calibrate(const torch::Tensor& pixels_BCHW, const torch::Tensor& region_BPC, double positive);
  // [B, patches, categories]: does an object of the category cover the patch?
  torch::Tensor region_logits(const torch::Tensor& tower_BPD) const;

  // Image rows [..., D] replace the image tokens in the order they stand in the stream; Error when their
  // numbers differ. `images` may be undefined for text alone.
  language::LayerOutputs forward(const torch::Tensor& tokens_T, const nn::SequencePlan& plan,
                                 const torch::Tensor& images,
                                 const language::ForwardOptions& options = {});
  // hidden rows [R, D] -> logits [R, V]
  torch::Tensor logits(const torch::Tensor& hidden_RD) const;
  // Cross-entropy of these rows' logits, which are not all held at once (nn/fused.h).
  nn::VocabularyLoss vocabulary_loss(const torch::Tensor& hidden_RD, const torch::Tensor& targets_R,
                                     const torch::Tensor& weights_R) const;

  // For inference on a CPU: the decoder's matrices, SwiGLU experts and the head from now on in 8 bits (mose/nn/int8.h), which
  // decoding reads in a quarter of the time of float32. Routers, embeddings, norms, other experts and the tower stay as they
  // are. Error on another device or with adapters.
  void use_int8_weights();

  const Config& config() const { return config_; }
  bool sparse() const { return config_.language.moe.has_value(); }
  const std::shared_ptr<vision::VisionTower>& tower() const { return tower_; }
  // Error on a dense model.
  const moe::SkillMap& skill_map() const;
  std::vector<std::pair<int64_t, std::shared_ptr<moe::MoeLayer>>> moe_layers() const { return language_->moe_layers(); }
  torch::Device device() const;
  torch::Dtype type() const;  // of the weights; pixels are converted to it

 private:
  torch::Tensor decoder_rows(const torch::Tensor& embeddings_NQD, const std::vector<vision::ImageLayout>& layouts) const;

  Config config_;
  std::optional<moe::SkillMap> skills_;
  std::shared_ptr<vision::VisionTower> tower_;
  std::shared_ptr<vision::Projector> projector_;
  std::shared_ptr<language::LanguageBackbone> language_;
  std::shared_ptr<nn::Linear> lm_head_, region_head_;
  torch::Tensor head_int8_;  // of tied embeddings, after use_int8_weights()
  torch::Tensor newline_D_;  // ends each line of a canvas; undefined without pinpoints
};

// Draws every weight after seeding PyTorch's generator, so the same seed gives the same model.
std::shared_ptr<VisionLanguageModel> make_model(const Config& config, uint64_t seed,
                                                const skills::Taxonomy* taxonomy = nullptr,
                                                const std::vector<double>& skill_mass = {});

}  // namespace mose::models
