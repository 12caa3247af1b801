// A pinhole camera over flat ground. Metres: x to the right, y up, z ahead. Pixels: u, v.
#pragma once

namespace mose::scenes {

inline constexpr double kLaneWidth = 3.2;
inline constexpr double kRoadHalf = 1.5 * kLaneWidth;  // three lanes
inline constexpr double kRoadside = 6.3;               // centre of what stands at the roadside

struct Pixel {
  double u = 0, v = 0;
};

struct Camera {
  double width = 640, height = 360;
  double focal = 430, centre = 320, horizon = 150;  // pixels
  double eye = 1.55;                                // metres above the ground

  Pixel project(double x, double y, double z) const {
    return {centre + focal * x / z, horizon + focal * (eye - y) / z};
  }
  // Depth of the ground on row v (below the horizon).
  double depth(double v) const { return focal * eye / (v - horizon); }
  // Pixels a metre takes at depth z.
  double scale(double z) const { return focal / z; }
};

}  // namespace mose::scenes
