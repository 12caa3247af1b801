#include "mose/vision/image_layout.h"

#include <algorithm>
#include <limits>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

double ratio(int64_t a, int64_t b) { return static_cast<double>(a) / static_cast<double>(b); }

int64_t scaled(int64_t size, double scale) { return static_cast<int64_t>(static_cast<double>(size) * scale); }

}  // namespace

void ImageSize::visit(FieldVisitor& v) {
  v.field("width", width, "width in pixels", 1, 65535);
  v.field("height", height, "height in pixels", 1, 65535);
}

void check_tiling(const Tiling& tiling) {
  const ImageSize& tile = tiling.tile;
  for (const ImageSize& canvas : tiling.pinpoints) {
    if (canvas.width < 1 || canvas.height < 1 || canvas.width % tile.width != 0 || canvas.height % tile.height != 0) {
      throw UsageError(str("anyres: expected pinpoints of a multiple of ", tile.width, " x ", tile.height, " pixels, found ",
                           canvas.width, " x ", canvas.height));
    }
  }
  if (!tiling.pinpoints.empty() && tiling.frame_rows != tiling.cells_across * tiling.cells_down) {
    throw UsageError("anyres: a tower without its first patch has no grid to lay tiles out on");
  }
}

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

ImageLayout layout_image(const ImageSize& original, const Tiling& tiling) {
  ImageLayout layout;
  layout.frame_rows = tiling.frame_rows;
  if (tiling.pinpoints.empty()) return layout;
  const ImageSize canvas = best_canvas(original, tiling.pinpoints);
  layout.original = original;
  layout.tiles_across = canvas.width / tiling.tile.width;
  layout.tiles_down = canvas.height / tiling.tile.height;
  layout.width = layout.tiles_across * tiling.cells_across;
  layout.height = layout.tiles_down * tiling.cells_down;
  // Integers are exact; the reference rounds its quotients to 7 digits, which comes to the same.
  if (original.width * layout.height > layout.width * original.height) {  // wider than the canvas
    layout.top = (layout.height - original.height * layout.width / original.width) / 2;
    layout.height -= 2 * layout.top;
  } else {
    layout.left = (layout.width - original.width * layout.height / original.height) / 2;
    layout.width -= 2 * layout.left;
  }
  return layout;
}

int64_t most_rows(const Tiling& tiling) {
  int64_t most = tiling.frame_rows;
  // An image of a canvas' own size fills it.
  for (const ImageSize& canvas : tiling.pinpoints) most = std::max(most, layout_image(canvas, tiling).rows());
  return most;
}

}  // namespace mose::vision
