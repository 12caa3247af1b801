// What an image file says about itself before it is decoded.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace mose::vision {

struct ImageHeader {
  int64_t width = 0, height = 0;  // as stored, before the orientation
  int orientation = 1;            // EXIF, 1 to 8; one that only XMP has is not read
};

// Walks the structure of a JPEG, PNG, BMP or WebP file to its end. DataError names `name` when it is
// none of these, malformed, or ends too early (decoders fill the rest with grey and say nothing).
ImageHeader read_image_header(std::string_view bytes, const std::string& name);

}  // namespace mose::vision
