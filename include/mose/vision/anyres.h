// LLaVA-NeXT's "anyres": a picture as one frame of the whole and several of its parts, at a resolution
// that fits its size (transformers' LlavaNextImageProcessor).
#pragma once

#include "mose/vision/preprocess.h"

namespace mose::vision {

// The canvas among `pinpoints` on which the image keeps most of its pixels when it is resized to fit;
// among equals the one with least left over, then the first. UsageError where there is none.
ImageSize best_canvas(const ImageSize& original, const std::vector<ImageSize>& pinpoints);

struct Tiles {
  torch::Tensor pixels_NCHW;  // uint8 [1 + rows * columns, 3, config.height, config.width]
  ImageSize original;         // upright
  ImageSize canvas;           // the pinpoint; rows = canvas.height / config.height
};

// Frame 0 is the whole image, stretched; then, row by row, the parts of the image resized to fit the
// best canvas, in the middle of it, black around. Sizes of pinpoints are multiples of the frame's, and
// config.mode is "stretch"; UsageError otherwise. DataError as decode_raw_image.
Tiles decode_tiles(std::string_view bytes, const std::string& name, const PreprocessConfig& config,
                   const std::vector<ImageSize>& pinpoints);

}  // namespace mose::vision
