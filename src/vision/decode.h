// Image files to pixels, at their own size.
#pragma once

#include <opencv2/core.hpp>
#include <string>
#include <string_view>

#include "mose/vision/preprocess.h"
#include "vision/image_header.h"

namespace mose::vision {

// The header's size after the orientation. DataError above kMaxPixels or kMaxSide.
ImageSize upright_size(const ImageHeader& header, const std::string& name);

// [height, width] of 8-bit blue, green, red, upright, rows without gaps. The values are those that Pillow
// decodes and convert("RGB") makes of them, but for grey of 16 bits, whose high byte is taken (Pillow
// clips at 255).
cv::Mat decode_image(std::string_view bytes, const std::string& name);

}  // namespace mose::vision
