// How an image becomes rows of the decoder: one frame of the whole, or with pinpoints (LLaVA-NeXT's "anyres")
// that frame and then the grid of a canvas whose resolution fits the image's size.
//
//   rows | the whole frame's cells | line of the grid, newline | line of the grid, newline | ...
//
// A cell is one row of the decoder: a patch of the tower, or those that the projector merges.
#pragma once

#include <cstdint>
#include <vector>

#include "mose/core/config.h"

namespace mose::vision {

// In pixels; of an image's file upright, that is after the EXIF orientation.
struct ImageSize {
  int64_t width = 0, height = 0;

  bool operator==(const ImageSize&) const = default;
  void visit(FieldVisitor& v);
};

// What of a model decides the rows of an image.
struct Tiling {
  ImageSize tile;                            // the tower's frame
  int64_t cells_across = 0, cells_down = 0;  // of a tile
  int64_t frame_rows = 0;                    // rows of the frame of the whole image
  std::vector<ImageSize> pinpoints;          // canvases to choose from; none: the frame of the whole image alone
};

struct ImageLayout {
  int64_t frame_rows = 0;
  int64_t tiles_across = 0, tiles_down = 0;          // of the canvas; 0 without pinpoints
  int64_t left = 0, top = 0, width = 0, height = 0;  // the canvas' cells that show the image; the others show its border
  ImageSize original;                                // the image's size; not set without pinpoints

  int64_t tiles() const { return 1 + tiles_across * tiles_down; }  // the whole frame included
  int64_t rows() const { return frame_rows + height * (width + 1); }
};

// UsageError unless every pinpoint is a multiple of the tile, and cells and frame_rows agree.
void check_tiling(const Tiling& tiling);

// The canvas among `pinpoints` on which the image keeps most of its pixels when it is resized to fit;
// among equals the one with least left over, then the first. UsageError where there is none.
ImageSize best_canvas(const ImageSize& original, const std::vector<ImageSize>& pinpoints);

// The layout that transformers' LlavaNextForConditionalGeneration gives an image: lines of cells that lie wholly in
// the border are left out, as many on one side as on the other.
ImageLayout layout_image(const ImageSize& original, const Tiling& tiling);

// The most rows that an image of any size can take.
int64_t most_rows(const Tiling& tiling);

}  // namespace mose::vision
