// Vision towers: pixels in, one row of features a patch out.
#pragma once

#include <torch/torch.h>

#include <memory>
#include <string>

#include "mose/core/config.h"

namespace mose::vision {

struct Config {
  std::string type = "vit";    // vit: ours (vit.h); clip, siglip: as released (clip.h)
  std::string stem = "conv";   // "patch": one strided projection; "conv": 4x4 squares, then 3x3 convolutions
  int64_t image_height = 160;  // pixels; multiples of patch_size
  int64_t image_width = 288;
  int64_t patch_size = 16;     // with the conv stem a power of two from 4 on
  int64_t stem_width = 48;     // channels after the first convolution, doubled up to hidden_size
  int64_t hidden_size = 192;
  int64_t intermediate_size = 512;
  int64_t layers = 4;
  int64_t heads = 6;
  std::string activation = "gelu";  // of clip and siglip
  double layer_norm_eps = 1e-5;
  bool drop_first_patch = false;  // of siglip: as MoE-LLaVA's models, which took it for a class token

  int64_t grid_height() const { return image_height / patch_size; }
  int64_t grid_width() const { return image_width / patch_size; }
  int64_t patches() const { return grid_height() * grid_width() - (drop_first_patch ? 1 : 0); }
  void visit(FieldVisitor& v);
};

class VisionTower : public torch::nn::Module {
 public:
  // [B, 3, image_height, image_width], normalised -> [B, patches, hidden_size], patches row by row. With `recompute`
  // the blocks keep their inputs only and run again in the backward pass (nn/recompute.h).
  virtual torch::Tensor forward(const torch::Tensor& pixels_BCHW, bool recompute = false) = 0;
  // Scales new weights to these images (nn::standardise); a tower may have nothing to scale.
  virtual void calibrate(const torch::Tensor& /*pixels_BCHW*/) {}
};

// Error when the pixels are not [B, 3, image_height, image_width].
void check_pixels(const torch::Tensor& pixels_BCHW, const Config& config);

// Explicit registration: UsageError names the known types.
std::shared_ptr<VisionTower> make_tower(const Config& config);

}  // namespace mose::vision
