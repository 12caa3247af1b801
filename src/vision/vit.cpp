#include "mose/vision/vit.h"

#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/nn/attention.h"
#include "mose/nn/init.h"
#include "mose/nn/layers.h"
#include "vision/blocks.h"

namespace mose::vision {
namespace {

using torch::Tensor;

// weight [out, in, k, k]; no padding for a patch projection, 1 for a 3x3 convolution.
class Convolution : public torch::nn::Module {
 public:
  Convolution(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding)
      : stride_(stride), padding_(padding) {
    const double std = std::sqrt(2.0 / static_cast<double>(in * kernel * kernel));  // He et al., 2015
    weight_ = register_parameter("weight", nn::normal({out, in, kernel, kernel}, std));
    bias_ = register_parameter("bias", nn::constant({out}, 0));
  }
  Tensor forward(const Tensor& x) const {
    return at::conv2d(x, weight_, bias_, {stride_, stride_}, {padding_, padding_});
  }
  void calibrate(const Tensor& x) { nn::standardise(weight_, bias_, forward(x), 1); }

 private:
  int64_t stride_, padding_;
  Tensor weight_, bias_;
};

// Convolution, group norm, GELU.
class StemBlock : public torch::nn::Module {
 public:
  StemBlock(int64_t in, int64_t out, int64_t kernel, int64_t stride, int64_t padding)
      : groups_(out % 8 == 0 ? 8 : 1) {
    convolution_ = register_module("conv", std::make_shared<Convolution>(in, out, kernel, stride, padding));
    scale_ = register_parameter("norm_weight", nn::constant({out}, 1));
    shift_ = register_parameter("norm_bias", nn::constant({out}, 0));
  }
  Tensor forward(const Tensor& x) const {
    return at::gelu(at::group_norm(convolution_->forward(x), groups_, scale_, shift_, 1e-5));
  }
  void calibrate(const Tensor& x) { convolution_->calibrate(x); }

 private:
  int64_t groups_;
  std::shared_ptr<Convolution> convolution_;
  Tensor scale_, shift_;
};

class Block : public torch::nn::Module {
 public:
  explicit Block(const Config& c) : heads_(c.heads) {
    layer_norm1_ = register_module("layer_norm1", std::make_shared<nn::LayerNorm>(c.hidden_size, c.layer_norm_eps));
    qkv_ = register_module("qkv", std::make_shared<nn::Linear>(c.hidden_size, 3 * c.hidden_size, true));
    out_proj_ = register_module("out_proj", std::make_shared<nn::Linear>(c.hidden_size, c.hidden_size, true));
    layer_norm2_ = register_module("layer_norm2", std::make_shared<nn::LayerNorm>(c.hidden_size, c.layer_norm_eps));
    mlp_ = register_module("mlp", std::make_shared<nn::GeluMlp>(c.hidden_size, c.intermediate_size));
  }
  Tensor forward(const Tensor& x_BPD) const {
    const auto qkv = qkv_->forward(layer_norm1_->forward(x_BPD)).chunk(3, -1);
    const auto x = x_BPD + out_proj_->forward(nn::full_attention(qkv[0], qkv[1], qkv[2], heads_));
    return x + mlp_->forward(layer_norm2_->forward(x));
  }

 private:
  int64_t heads_;
  std::shared_ptr<nn::LayerNorm> layer_norm1_, layer_norm2_;
  std::shared_ptr<nn::Linear> qkv_, out_proj_;
  std::shared_ptr<nn::GeluMlp> mlp_;
};

// [H * W, D]: sines and cosines of the column in the first half, of the row in the second, as long as
// calibrated features are, so that a tower knows from the start where things are. Learned from there on.
Tensor sine_positions(int64_t height, int64_t width, int64_t channels) {
  const int64_t quarter = std::max<int64_t>(channels / 4, 1);
  const auto frequencies = at::exp(torch::arange(quarter, torch::kFloat32) * (-std::log(100.0) / static_cast<double>(quarter)));
  const auto waves = [&](const Tensor& places) {
    const auto angles = at::outer(places.flatten().to(torch::kFloat32), frequencies);
    return at::cat({angles.sin(), angles.cos()}, 1);
  };
  const auto places = torch::arange(height * width);
  const auto both = at::cat({waves(places % width), waves(at::floor_divide(places, width))}, 1);
  return at::constant_pad_nd(both, {0, channels - both.size(1)}).contiguous();
}

class VisionTransformer : public VisionTower {
 public:
  explicit VisionTransformer(const Config& c) : config_(c) {
    int64_t channels = 3, left = c.patch_size;
    auto stem = register_module("stem", std::make_shared<torch::nn::Module>());
    if (c.stem == "conv") {
      if ((left & (left - 1)) != 0 || left < 4) {
        throw UsageError(str("vision.patch_size = ", left, ": the conv stem needs a power of two from 4 on"));
      }
      const auto add = [&](int64_t out, int64_t kernel, int64_t stride, int64_t padding) {
        stem_.push_back(stem->register_module(std::to_string(stem_.size()),
                                              std::make_shared<StemBlock>(channels, out, kernel, stride, padding)));
        channels = out;
      };
      // Squares of 4 x 4 pixels, then channels double with each halving; the last block looks around
      // itself at the patches' resolution, and the projection brings its channels to the tower's width.
      add(c.stem_width, 4, 4, 0);
      for (left /= 4; left > 1; left /= 2) add(std::min(2 * channels, c.hidden_size), 3, 2, 1);
      add(channels, 3, 1, 1);
    }
    embedding_ = register_module("patch_embedding", std::make_shared<Convolution>(channels, c.hidden_size, left, left, 0));
    positions_ = register_parameter("position_embedding", nn::given(sine_positions(c.grid_height(), c.grid_width(), c.hidden_size)));
    auto list = register_module("layers", std::make_shared<torch::nn::Module>());
    for (int64_t i = 0; i < c.layers; ++i) {
      blocks_.push_back(list->register_module(std::to_string(i), std::make_shared<Block>(c)));
    }
    norm_ = register_module("post_layernorm", std::make_shared<nn::LayerNorm>(c.hidden_size, c.layer_norm_eps));
  }

  void calibrate(const Tensor& pixels_BCHW) override {
    Tensor x = pixels_BCHW;
    for (const auto& block : stem_) {
      block->calibrate(x);
      x = block->forward(x);
    }
    embedding_->calibrate(x);
  }

  Tensor forward(const Tensor& pixels_BCHW, bool recompute) override {
    check_pixels(pixels_BCHW, config_);
    Tensor x = pixels_BCHW;
    for (const auto& block : stem_) x = block->forward(x);
    x = embedding_->forward(x).flatten(2).transpose(1, 2) + positions_;
    x = run_blocks(blocks_, x, recompute);
    return norm_->forward(x);
  }

 private:
  Config config_;
  std::vector<std::shared_ptr<StemBlock>> stem_;
  std::shared_ptr<Convolution> embedding_;
  Tensor positions_;
  std::vector<std::shared_ptr<Block>> blocks_;
  std::shared_ptr<nn::LayerNorm> norm_;
};

}  // namespace

std::shared_ptr<VisionTower> make_vit(const Config& config) {
  return std::make_shared<VisionTransformer>(config);
}

}  // namespace mose::vision
