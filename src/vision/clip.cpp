#include "mose/vision/clip.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/attention.h"
#include "mose/nn/init.h"
#include "mose/nn/layers.h"
#include "vision/blocks.h"

namespace mose::vision {
namespace {

using torch::Tensor;

class Attention : public torch::nn::Module {
 public:
  Attention(int64_t width, int64_t heads) : heads_(heads) {
    q_proj_ = register_module("q_proj", std::make_shared<nn::Linear>(width, width, true));
    k_proj_ = register_module("k_proj", std::make_shared<nn::Linear>(width, width, true));
    v_proj_ = register_module("v_proj", std::make_shared<nn::Linear>(width, width, true));
    out_proj_ = register_module("out_proj", std::make_shared<nn::Linear>(width, width, true));
  }
  Tensor forward(const Tensor& x_BPD) const {
    return out_proj_->forward(nn::full_attention(q_proj_->forward(x_BPD), k_proj_->forward(x_BPD),
                                                 v_proj_->forward(x_BPD), heads_));
  }

 private:
  int64_t heads_;
  std::shared_ptr<nn::Linear> q_proj_, k_proj_, v_proj_, out_proj_;
};

class Block : public torch::nn::Module {
 public:
  explicit Block(const Config& c) {
    layer_norm1_ = register_module("layer_norm1", std::make_shared<nn::LayerNorm>(c.hidden_size, c.layer_norm_eps));
    self_attn_ = register_module("self_attn", std::make_shared<Attention>(c.hidden_size, c.heads));
    layer_norm2_ = register_module("layer_norm2", std::make_shared<nn::LayerNorm>(c.hidden_size, c.layer_norm_eps));
    mlp_ = register_module("mlp", std::make_shared<nn::GeluMlp>(c.hidden_size, c.intermediate_size, nn::activation_named(c.activation)));
  }
  Tensor forward(const Tensor& x_BPD) const {
    const auto x = x_BPD + self_attn_->forward(layer_norm1_->forward(x_BPD));
    return x + mlp_->forward(layer_norm2_->forward(x));
  }

 private:
  std::shared_ptr<nn::LayerNorm> layer_norm1_, layer_norm2_;
  std::shared_ptr<Attention> self_attn_;
  std::shared_ptr<nn::GeluMlp> mlp_;
};

class ClipTower : public VisionTower {
 public:
  explicit ClipTower(const Config& c) : config_(c), clip_(c.type == "clip") {
    const auto module = [] { return std::make_shared<torch::nn::Module>(); };
    const int64_t D = c.hidden_size, p = c.patch_size;
    auto embeddings = register_module("embeddings", module());
    auto patches = embeddings->register_module("patch_embedding", module());
    patch_weight_ = patches->register_parameter("weight", nn::normal({D, 3, p, p}, nn::kInitStd));
    if (!clip_) patch_bias_ = patches->register_parameter("bias", nn::constant({D}, 0));
    if (clip_) class_ = embeddings->register_parameter("class_embedding", nn::normal({D}, nn::kInitStd));
    positions_ = embeddings->register_module("position_embedding", module())
                     ->register_parameter("weight", nn::normal({c.grid_height() * c.grid_width() + (clip_ ? 1 : 0), D}, nn::kInitStd));
    // transformers spells it so.
    if (clip_) pre_norm_ = register_module("pre_layrnorm", std::make_shared<nn::LayerNorm>(D, c.layer_norm_eps));
    auto list = register_module("encoder", module())->register_module("layers", module());
    for (int64_t i = 0; i < c.layers; ++i) {
      blocks_.push_back(list->register_module(std::to_string(i), std::make_shared<Block>(c)));
    }
  }

  Tensor forward(const Tensor& pixels_BCHW, bool recompute) override {
    check_pixels(pixels_BCHW, config_);
    const auto stride = config_.patch_size;
    Tensor x = at::conv2d(pixels_BCHW.to(patch_weight_.dtype()), patch_weight_, patch_bias_, {stride, stride}).flatten(2).transpose(1, 2);
    if (clip_) x = at::cat({class_.expand({x.size(0), 1, -1}), x}, 1);
    x = x + positions_;
    if (clip_) x = pre_norm_->forward(x);
    x = run_blocks(blocks_, x, recompute);
    return clip_ || config_.drop_first_patch ? x.slice(1, 1) : x;
  }

 private:
  Config config_;
  bool clip_;
  Tensor patch_weight_, patch_bias_, class_, positions_;
  std::shared_ptr<nn::LayerNorm> pre_norm_;
  std::vector<std::shared_ptr<Block>> blocks_;
};

}  // namespace

std::shared_ptr<VisionTower> make_clip(const Config& config) { return std::make_shared<ClipTower>(config); }

}  // namespace mose::vision
