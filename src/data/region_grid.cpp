#include "mose/data/region_grid.h"

#include <algorithm>

namespace mose::data {

torch::Tensor region_targets(const std::vector<skills::RegionTarget>& objects, const RegionGrid& grid,
                             const vision::ImageSize& original,
                             const vision::PreprocessConfig& config) {
  const auto classes = static_cast<int64_t>(grid.categories.size());
  torch::Tensor targets_PC = torch::zeros({grid.patches(), classes});
  float* out = targets_PC.data_ptr<float>();
  const vision::FrameMap map = vision::frame_map(original, config);
  // Frame pixels to patch units.
  const double per_x = static_cast<double>(grid.width) / static_cast<double>(config.width);
  const double per_y = static_cast<double>(grid.height) / static_cast<double>(config.height);
  for (const skills::RegionTarget& object : objects) {
    const auto found = std::find(grid.categories.begin(), grid.categories.end(), object.category);
    if (found == grid.categories.end()) continue;
    const int64_t c = found - grid.categories.begin();
    const double left = (map.scale_x * object.box.x + map.offset_x) * per_x;
    const double top = (map.scale_y * object.box.y + map.offset_y) * per_y;
    const double right = left + map.scale_x * object.box.w * per_x;
    const double bottom = top + map.scale_y * object.box.h * per_y;
    for (int64_t y = 0; y < grid.height; ++y) {
      const double middle_y = static_cast<double>(y) + 0.5;
      for (int64_t x = 0; x < grid.width; ++x) {
        const double middle_x = static_cast<double>(x) + 0.5;
        const bool inside =
            middle_x >= left && middle_x < right && middle_y >= top && middle_y < bottom;
        if (inside) out[(y * grid.width + x) * classes + c] = 1;
      }
    }
    const double middle_x = (left + right) / 2, middle_y = (top + bottom) / 2;
    const bool in_frame = middle_x >= 0 && middle_x < static_cast<double>(grid.width) &&
                          middle_y >= 0 && middle_y < static_cast<double>(grid.height);
    if (in_frame) {
      const auto x = static_cast<int64_t>(middle_x), y = static_cast<int64_t>(middle_y);
      out[(y * grid.width + x) * classes + c] = 1;
    }
  }
  return targets_PC;
}

}  // namespace mose::data
