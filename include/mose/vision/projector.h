// From the tower's width to the decoder's: merges merge x merge neighbouring patches into one row,
// then Linear, GELU, Linear (LLaVA's projector when merge is 1).
#pragma once

#include <torch/torch.h>

#include <memory>

#include "mose/core/config.h"
#include "mose/nn/layers.h"
#include "mose/vision/tower.h"

namespace mose::vision {

struct ProjectorConfig {
  int64_t merge = 2;        // divides both sides of the tower's grid
  int64_t hidden_size = 0;  // of the MLP; 0 = the decoder's width

  void visit(FieldVisitor& v);
};

// Rows one image becomes in the decoder.
int64_t image_tokens(const ProjectorConfig& config, const Config& tower);

class Projector : public torch::nn::Module {
 public:
  Projector(const ProjectorConfig& config, const Config& tower, int64_t width);
  // [B, patches, Dv] -> [B, image_tokens, D]
  torch::Tensor forward(const torch::Tensor& features_BPD) const;
  // Scales new weights to these features, so that every channel of the rows has mean 0 and deviation `scale`.
  void calibrate(const torch::Tensor& features_BPD, double scale);

 private:
  torch::Tensor merged(const torch::Tensor& features_BPD) const;
  int64_t merge_, grid_height_, grid_width_;
  std::shared_ptr<nn::Linear> linear_1_, linear_2_;
};

}  // namespace mose::vision
