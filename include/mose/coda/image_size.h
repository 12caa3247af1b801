// Width and height of a picture from its file header, without decoding it.
#pragma once

#include <cstdint>
#include <filesystem>

namespace mose::coda {

struct ImageSize {
  int64_t width = 0, height = 0;  // pixels
};

// JPEG (first frame header) or PNG (IHDR). DataError names the file when it is missing, of another
// kind, or ends before the size.
ImageSize image_size(const std::filesystem::path& file);

}  // namespace mose::coda
