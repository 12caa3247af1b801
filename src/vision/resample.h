// Resizing with antialiasing, as Pillow does it.
#pragma once

#include <cstdint>
#include <vector>

namespace mose::vision {

enum class Filter { kBilinear, kBicubic };

// Separable convolution with the filter stretched by the shrink factor, first along rows, then along
// columns, rounded to 8 bits after each. `pixels` is [height, width, 3]; so is the result.
std::vector<uint8_t> resample(const uint8_t* pixels, int64_t width, int64_t height,
                              int64_t new_width, int64_t new_height, Filter filter);

}  // namespace mose::vision
