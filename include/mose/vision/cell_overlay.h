// The tower's frame of an image with its cells (rows of the decoder) tinted by a class: which expert sees what.
#pragma once

#include <torch/types.h>

#include <array>
#include <cstdint>
#include <string>
#include <vector>

namespace mose::vision {

using Colour = std::array<uint8_t, 3>;  // red, green, blue

// Colours that differ from each other; they come round after twelve.
Colour class_colour(int64_t index);

struct CellPanel {
  std::string title;                // ASCII
  int64_t across = 0, down = 0;     // cells
  std::vector<int64_t> classes;     // of each cell, row by row
};
struct LegendLine {
  int64_t index = 0;  // class
  std::string text;   // ASCII
};

// Pixels of the whole drawing.
struct PanelPlace {
  int64_t left = 0, top = 0, width = 0, height = 0;
};
struct Overlay {
  std::string png;
  std::vector<PanelPlace> places;  // of each panel's frame
};

// `frame_CHW` is uint8 [3, H, W]. Each panel shows it in grey, enlarged by a whole factor to at least 320 pixels of width, a cell's
// pixels being round(0.45 grey + 0.55 colour); panels stand in lines of about as many as there are lines, the legend below.
// Error where a panel's classes are not across * down.
Overlay draw_cells(const torch::Tensor& frame_CHW, const std::vector<CellPanel>& panels, const std::vector<LegendLine>& legend);

}  // namespace mose::vision
