// A vision transformer (Dosovitskiy et al., 2021) with learned positions and, by default, a
// convolutional stem, which learns to see from far fewer images (Xiao et al., 2021).
#pragma once

#include "mose/vision/tower.h"

namespace mose::vision {

std::shared_ptr<VisionTower> make_vit(const Config& config);

}  // namespace mose::vision
