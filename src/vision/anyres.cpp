#include "mose/vision/anyres.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "vision/decode.h"
#include "vision/frame.h"

namespace mose::vision {
namespace {

double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

int64_t scaled(int64_t size, double scale) { return static_cast<int64_t>(static_cast<double>(size) * scale); }

// The image resized to touch the canvas on two sides; the other sides are rounded up.
ImageSize fit(const ImageSize& size, const ImageSize& canvas) {
  const double across = ratio(canvas.width, size.width), down = ratio(canvas.height, size.height);
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

ImageSize best_canvas(const ImageSize& original, const std::vector<ImageSize>& pinpoints) {
  if (pinpoints.empty()) throw UsageError("anyres: no pinpoints");
  ImageSize best;
  int64_t most = 0, least_left = std::numeric_limits<int64_t>::max();
  for (const ImageSize& canvas : pinpoints) {
    const double scale = std::min(ratio(canvas.width, original.width), ratio(canvas.height, original.height));
    const int64_t kept = std::min(scaled(original.width, scale) * scaled(original.height, scale),
                                  original.width * original.height);
    const int64_t left = canvas.width * canvas.height - kept;
    if (kept > most || (kept == most && left < least_left)) {
      most = kept;
      least_left = left;
      best = canvas;
    }
  }
  return best;
}

Tiles decode_tiles(std::string_view bytes, const std::string& name, const PreprocessConfig& config,
                   const std::vector<ImageSize>& pinpoints) {
  check_preprocess(config);
  if (config.mode != "stretch") throw UsageError(str("anyres: expected preprocess.mode stretch, found ", config.mode));
  for (const ImageSize& canvas : pinpoints) {
    if (canvas.width < 1 || canvas.height < 1 || canvas.width % config.width != 0 || canvas.height % config.height != 0) {
      throw UsageError(str("anyres: expected pinpoints of a multiple of ", config.width, " x ", config.height,
                           " pixels, found ", canvas.width, " x ", canvas.height));
    }
  }
  const cv::Mat image = decode_image(bytes, name);
  Tiles tiles;
  tiles.original = {image.cols, image.rows};
  tiles.canvas = best_canvas(tiles.original, pinpoints);
  const ImageSize size = fit(tiles.original, tiles.canvas);
  const FramePlan plan{tiles.canvas.width, tiles.canvas.height,
                       whole_at_middle(image.cols, size.width, tiles.canvas.width),
                       whole_at_middle(image.rows, size.height, tiles.canvas.height)};
  const int64_t rows = tiles.canvas.height / config.height, columns = tiles.canvas.width / config.width;
  // [3, rows, H, columns, W] -> [rows * columns, 3, H, W]
  const torch::Tensor parts = draw_frame(image, plan, config.filter, {})
                                  .view({3, rows, config.height, columns, config.width})
                                  .permute({1, 3, 0, 2, 4})
                                  .reshape({rows * columns, 3, config.height, config.width});
  const torch::Tensor base = draw_frame(image, plan_frame(tiles.original, config), config.filter, {});
  tiles.pixels_NCHW = torch::cat({base.unsqueeze(0), parts});
  return tiles;
}

}  // namespace mose::vision
