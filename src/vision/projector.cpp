#include "mose/vision/projector.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {

void ProjectorConfig::visit(FieldVisitor& v) {
  v.field("merge", merge, "side of the square of patches that becomes one row", 1, 64);
  v.field("hidden_size", hidden_size, "MLP width; 0 = the decoder's width", 0, 1e6);
}

int64_t image_tokens(const ProjectorConfig& config, const Config& tower) {
  return tower.patches() / (config.merge * config.merge);
}

Projector::Projector(const ProjectorConfig& config, const Config& tower, int64_t width)
    : merge_(config.merge), grid_height_(tower.grid_height()), grid_width_(tower.grid_width()) {
  if (grid_height_ % merge_ != 0 || grid_width_ % merge_ != 0) {
    throw UsageError(str("projector.merge = ", merge_, ": expected a divisor of the tower's grid of ",
                         grid_height_, " x ", grid_width_, " patches"));
  }
  if (merge_ > 1 && tower.drop_first_patch) throw UsageError("projector.merge: a tower without its first patch has no squares to merge");
  const int64_t hidden = config.hidden_size > 0 ? config.hidden_size : width;
  linear_1_ = register_module("linear_1",
                              std::make_shared<nn::Linear>(tower.hidden_size * merge_ * merge_, hidden, true));
  linear_2_ = register_module("linear_2", std::make_shared<nn::Linear>(hidden, width, true));
}

torch::Tensor Projector::merged(const torch::Tensor& x) const {
  if (merge_ == 1) return x;
  const int64_t B = x.size(0), D = x.size(2), h = grid_height_ / merge_, w = grid_width_ / merge_;
  return x.view({B, h, merge_, w, merge_, D}).permute({0, 1, 3, 2, 4, 5}).reshape({B, h * w, merge_ * merge_ * D});
}

torch::Tensor Projector::forward(const torch::Tensor& features_BPD) const {
  return linear_2_->forward(at::gelu(linear_1_->forward(merged(features_BPD))));
}

void Projector::calibrate(const torch::Tensor& features_BPD, double scale) {
  const torch::NoGradGuard no_grad;
  nn::standardise(linear_1_->weight, linear_1_->bias, linear_1_->forward(merged(features_BPD)), 2);
  nn::standardise(linear_2_->weight, linear_2_->bias, forward(features_BPD), 2);
  linear_2_->weight.mul_(scale);
  linear_2_->bias.mul_(scale);
}

}  // namespace mose::vision
