#include "mose/vision/anyres.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "vision/decode.h"
#include "vision/frame.h"

namespace mose::vision {
namespace {

// The image resized to touch the canvas on two sides; the other sides are rounded up.
ImageSize fit(const ImageSize& size, const ImageSize& canvas) {
  const double across = static_cast<double>(canvas.width) / static_cast<double>(size.width);
  const double down = static_cast<double>(canvas.height) / static_cast<double>(size.height);
  const auto up = [](int64_t side, double scale) {
    return static_cast<int64_t>(std::ceil(static_cast<double>(side) * scale));
  };
  if (across < down) return {canvas.width, std::min(up(size.height, across), canvas.height)};
  return {std::min(up(size.width, down), canvas.width), canvas.height};
}

Placed whole_at_middle(int64_t size, int64_t resized, int64_t canvas) {
  return {whole(size, resized), (canvas - resized) / 2};
}

}  // namespace

Tiles decode_tiles(std::string_view bytes, const std::string& name, const PreprocessConfig& config, const ImageLayout& layout) {
  check_preprocess(config);
  const bool tiled = layout.tiles() > 1;
  if (tiled && config.mode != "stretch") throw UsageError(str("anyres: expected preprocess.mode stretch, found ", config.mode));
  const cv::Mat image = decode_image(bytes, name);
  Tiles tiles;
  tiles.original = {image.cols, image.rows};
  tiles.pixels_NCHW = draw_frame(image, plan_frame(tiles.original, config), config.filter, mean_colour(config)).unsqueeze(0);
  if (!tiled) return tiles;
  if (tiles.original != layout.original) {
    throw DataError(str(name, ": expected an image of ", layout.original.width, " x ", layout.original.height, " pixels, found ",
                        image.cols, " x ", image.rows, "; has the file changed?"));
  }
  const int64_t rows = layout.tiles_down, columns = layout.tiles_across;
  const ImageSize canvas{columns * config.width, rows * config.height};
  const ImageSize size = fit(tiles.original, canvas);
  const FramePlan plan{canvas.width, canvas.height, whole_at_middle(image.cols, size.width, canvas.width),
                       whole_at_middle(image.rows, size.height, canvas.height)};
  // [3, rows, H, columns, W] -> [rows * columns, 3, H, W]
  const torch::Tensor parts = draw_frame(image, plan, config.filter, {})
                                  .view({3, rows, config.height, columns, config.width})
                                  .permute({1, 3, 0, 2, 4})
                                  .reshape({rows * columns, 3, config.height, config.width});
  tiles.pixels_NCHW = torch::cat({tiles.pixels_NCHW, parts});
  return tiles;
}

Tiles load_tiles(const std::filesystem::path& path, const PreprocessConfig& config, const ImageLayout& layout) {
  return decode_tiles(read_image_file(path), path.string(), config, layout);
}

ImageLayout layout_file(const std::filesystem::path& path, const Tiling& tiling) {
  return layout_image(tiling.pinpoints.empty() ? ImageSize{} : image_size(path), tiling);
}

Picture load_picture(const std::filesystem::path& path, const PreprocessConfig& config, const Tiling& tiling) {
  const ImageLayout layout = layout_file(path, tiling);
  return {normalise(load_tiles(path, config, layout).pixels_NCHW, config), layout};
}

Picture blank_picture(const PreprocessConfig& config, const Tiling& tiling) {
  const ImageLayout layout = layout_image(tiling.tile, tiling);
  return {mean_colour_image(config).repeat({layout.tiles(), 1, 1, 1}), layout};
}

}  // namespace mose::vision
