// JPEG files through libjpeg, without OpenCV's conversions on top, which take longer than the decoding.
#pragma once

#include <opencv2/core.hpp>
#include <string>
#include <string_view>

#include "vision/image_header.h"

namespace mose::vision {

inline bool is_jpeg(std::string_view bytes) { return bytes.substr(0, 3) == "\xFF\xD8\xFF"; }

// [height, width] of 8-bit blue, green, red as stored, before the orientation. CMYK is turned to RGB as
// Pillow does it, taken to be inverted as Adobe writes it. DataError where libjpeg refuses the file, and
// where its coded data is damaged, which libjpeg would only warn of and fill up with grey.
cv::Mat decode_jpeg(std::string_view bytes, const std::string& name, const ImageHeader& header);

}  // namespace mose::vision
