// LLaVA-NeXT's "anyres": an image as one frame of the whole and, at a resolution that fits its size, the tiles
// of a canvas (transformers' LlavaNextImageProcessor). Without pinpoints it is the frame alone.
#pragma once

#include "mose/vision/image_layout.h"
#include "mose/vision/preprocess.h"

namespace mose::vision {

struct Tiles {
  torch::Tensor pixels_NCHW;  // uint8 [layout.tiles(), 3, config.height, config.width]
  ImageSize original;         // upright
};

// Frame 0 is the whole image by config.mode; then, row by row, the tiles of the image resized to fit the canvas, in
// the middle of it, black around. With tiles config.mode must be "stretch" (UsageError). DataError as
// decode_raw_image, and where the image is not of the layout's size.
Tiles decode_tiles(std::string_view bytes, const std::string& name, const PreprocessConfig& config, const ImageLayout& layout);
Tiles load_tiles(const std::filesystem::path& path, const PreprocessConfig& config, const ImageLayout& layout);

// The layout of an image file. Its header is read where there are pinpoints; DataError as image_size.
ImageLayout layout_file(const std::filesystem::path& path, const Tiling& tiling);

// An image as a model takes it.
struct Picture {
  torch::Tensor tiles_NCHW;  // float32, normalised; undefined: no image
  ImageLayout layout;
};
Picture load_picture(const std::filesystem::path& path, const PreprocessConfig& config, const Tiling& tiling);
// The blind control: an image of the frame's size in the mean colour (mean_colour_image).
Picture blank_picture(const PreprocessConfig& config, const Tiling& tiling);

// Hugging Face's form: "image_grid_pinpoints" as [[height, width], ...] in a model's or a processor's config, LLaVA-NeXT's
// own where the key is missing. DataError names `where`.
std::vector<ImageSize> pinpoints_from_json(const Json& config, const std::string& where);
Json pinpoints_to_json(const std::vector<ImageSize>& pinpoints);
// Those of DIR's LlavaNextImageProcessor, whose tiles load_preprocess reads; none for other processors.
std::vector<ImageSize> load_pinpoints(const std::filesystem::path& dir);
// As LlavaNextImageProcessor where there are pinpoints. UsageError where it does not do what `tile` says.
void save_preprocess(const std::filesystem::path& dir, const PreprocessConfig& tile, const std::vector<ImageSize>& pinpoints);

}  // namespace mose::vision
