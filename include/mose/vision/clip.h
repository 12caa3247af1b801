// CLIP's vision transformer (Radford et al., 2021) and SigLIP's (Zhai et al., 2023), with transformers'
// parameter names. What leaves the tower are the states after its last block, without the norm that
// follows there: LLaVA takes them so, and from the block before the last (vision_feature_layer -2), which
// is a tower of one block less.
//
//   clip    a class token in front, dropped at the end; a norm before the blocks; no bias on the patches
//   siglip  none of these; a bias on the patches
#pragma once

#include "mose/vision/tower.h"

namespace mose::vision {

std::shared_ptr<VisionTower> make_clip(const Config& config);

}  // namespace mose::vision
