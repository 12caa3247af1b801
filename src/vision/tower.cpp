#include "mose/vision/tower.h"

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/vision/clip.h"
#include "mose/vision/vit.h"

namespace mose::vision {

void Config::visit(FieldVisitor& v) {
  v.field("type", type, "tower family: vit (ours), clip, siglip", {"vit", "clip", "siglip"});
  v.field("stem", stem, "how pixels become patches", {"patch", "conv"});
  v.field("image_height", image_height, "pixels", 1, 8192);
  v.field("image_width", image_width, "pixels", 1, 8192);
  v.field("patch_size", patch_size, "pixels a patch covers on each side", 1, 256);
  v.field("stem_width", stem_width, "channels after the stem's first convolution", 1, 4096);
  v.field("hidden_size", hidden_size, "tower width", 1, 65536);
  v.field("intermediate_size", intermediate_size, "MLP width", 1, 1e6);
  v.field("layers", layers, "transformer blocks", 0, 1000);
  v.field("heads", heads, "attention heads; divides hidden_size", 1, 1024);
  v.field("activation", activation, "of the MLPs of clip and siglip; a vit has gelu", {"gelu", "quick_gelu", "gelu_tanh"});
  v.field("drop_first_patch", drop_first_patch, "leave the first patch of a siglip tower out, as MoE-LLaVA's models do");
  v.field("layer_norm_eps", layer_norm_eps, "epsilon of the norms", 0, 1);
}

std::shared_ptr<VisionTower> make_tower(const Config& config) {
  if (config.image_height % config.patch_size != 0 || config.image_width % config.patch_size != 0) {
    throw UsageError(str("vision.image_height x image_width = ", config.image_height, " x ", config.image_width,
                         ": expected multiples of patch_size = ", config.patch_size));
  }
  if (config.hidden_size % config.heads != 0) {
    throw UsageError(str("vision.heads = ", config.heads, ": expected a divisor of hidden_size = ",
                         config.hidden_size));
  }
  if (config.drop_first_patch && config.type != "siglip") {
    throw UsageError("vision.drop_first_patch: only a siglip tower may leave its first patch out");
  }
  if (config.type == "vit") return make_vit(config);
  if (config.type == "clip" || config.type == "siglip") return make_clip(config);
  throw UsageError("vision.type = \"" + config.type + "\": known types: vit, clip, siglip");
}

void check_pixels(const torch::Tensor& pixels_BCHW, const Config& config) {
  if (pixels_BCHW.dim() != 4 || pixels_BCHW.size(1) != 3 || pixels_BCHW.size(2) != config.image_height ||
      pixels_BCHW.size(3) != config.image_width) {
    throw Error(mose::str("vision tower: expected pixels [B, 3, ", config.image_height, ", ", config.image_width,
                          "], found ", pixels_BCHW.sizes()));
  }
}

}  // namespace mose::vision
