#include "mose/data/region_grid.h"

#include <algorithm>

namespace mose::data {

std::vector<int64_t> covered_cells(const coda::Box& box, int64_t height, int64_t width,
                                   const vision::ImageSize& original, const vision::PreprocessConfig& config) {
  const vision::FrameMap map = vision::frame_map(original, config);
  // Frame pixels to cells.
  const double per_x = static_cast<double>(width) / static_cast<double>(config.width);
  const double per_y = static_cast<double>(height) / static_cast<double>(config.height);
  const double left = (map.scale_x * box.x + map.offset_x) * per_x;
  const double top = (map.scale_y * box.y + map.offset_y) * per_y;
  const double right = left + map.scale_x * box.w * per_x;
  const double bottom = top + map.scale_y * box.h * per_y;
  const double middle_x = (left + right) / 2, middle_y = (top + bottom) / 2;
  std::vector<int64_t> cells;
  for (int64_t y = 0; y < height; ++y) {
    const double cell_y = static_cast<double>(y);
    for (int64_t x = 0; x < width; ++x) {
      const double cell_x = static_cast<double>(x);
      const bool inside = cell_x + 0.5 >= left && cell_x + 0.5 < right && cell_y + 0.5 >= top && cell_y + 0.5 < bottom;
      const bool holds_middle =
          middle_x >= cell_x && middle_x < cell_x + 1 && middle_y >= cell_y && middle_y < cell_y + 1;
      if (inside || holds_middle) cells.push_back(y * width + x);
    }
  }
  return cells;
}

torch::Tensor region_targets(const std::vector<skills::RegionTarget>& objects, const RegionGrid& grid,
                             const vision::ImageSize& original,
                             const vision::PreprocessConfig& config) {
  const auto classes = static_cast<int64_t>(grid.categories.size());
  torch::Tensor targets_PC = torch::zeros({grid.patches(), classes});
  float* out = targets_PC.data_ptr<float>();
  for (const skills::RegionTarget& object : objects) {
    const auto found = std::find(grid.categories.begin(), grid.categories.end(), object.category);
    if (found == grid.categories.end()) continue;
    const int64_t c = found - grid.categories.begin();
    for (const int64_t p : covered_cells(object.box, grid.height, grid.width, original, config)) out[p * classes + c] = 1;
  }
  return targets_PC;
}

}  // namespace mose::data
