// A scene as an image, with the box of every object.
#pragma once

#include <array>
#include <opencv2/core.hpp>
#include <vector>

#include "scenes/world.h"

namespace mose::scenes {

struct Picture {
  cv::Mat image;                             // 8-bit BGR
  std::vector<std::array<double, 4>> boxes;  // [x, y, w, h] in pixels, in the order of the objects
};

// The same (scene, seed) gives the same pixels.
Picture draw_picture(const Scene& scene, uint64_t seed);

}  // namespace mose::scenes
