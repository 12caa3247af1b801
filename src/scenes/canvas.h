// The picture being painted: colours under the scene's light and fog, far things first.
#pragma once

#include <array>
#include <opencv2/core.hpp>
#include <vector>

#include "scenes/camera.h"

namespace mose::scenes {

struct Rgb {
  double r = 0, g = 0, b = 0;  // 0 to 255
  Rgb operator*(double k) const { return {r * k, g * k, b * k}; }
};
Rgb mix(const Rgb& a, const Rgb& b, double share_of_b);

// How a surface's own colour becomes a pixel: daylight, the ego car's headlights, then fog.
struct Light {
  Rgb ambient{255, 255, 255};  // what a white surface shows without headlights
  double headlights = 0;       // added on near surfaces at night
  double fog_density = 0;      // 1 / metre
  Rgb fog{200, 200, 205};
  // The shading of one depth, for many surfaces at once.
  struct Shade {
    Rgb gain, fog;
    double fog_share;
    Rgb operator()(const Rgb& surface) const;
  };
  Shade at(double z) const;
  Rgb shade(const Rgb& surface, double z) const { return at(z)(surface); }
  Rgb haze(const Rgb& colour, double z) const;  // fog alone, for lamps
};

class Canvas {
 public:
  Canvas(const Camera& camera, const Light& light);

  cv::Mat image;  // 8-bit BGR
  const Camera camera;
  const Light light;

  // Fills a polygon given in pixels with an exact colour.
  void fill(const std::vector<Pixel>& points, const Rgb& colour);
  // A lamp's halo, painted by finish() over everything. Radius in pixels.
  void glow(Pixel centre, double radius, const Rgb& colour, double strength);
  void finish();

  // The box of what is filled between the two calls, clipped to the picture: [x, y, w, h].
  void begin_box();
  std::array<double, 4> end_box();
  bool tracking = true;  // false while parts are drawn that do not count (a gantry's pole)

 private:
  struct Glow {
    Pixel centre;
    double radius;
    Rgb colour;
    double strength;
  };
  std::vector<Glow> glows_;
  std::vector<cv::Point> points_;  // reused
  double left_ = 0, top_ = 0, right_ = 0, bottom_ = 0;
};

struct Point {
  double x = 0, y = 0;  // metres
};

// Draws in metres on an upright plane that stands on the ground at (x, z): p.x runs along the plane
// (turned by yaw about its foot), p.y up.
class Pen {
 public:
  Pen(Canvas& canvas, double x, double z, double yaw = 0, bool mirrored = false);

  void polygon(const std::vector<Point>& points, const Rgb& colour, bool lamp = false);
  void box(double x0, double y0, double x1, double y1, const Rgb& colour, bool lamp = false);
  void ellipse(Point centre, double rx, double ry, const Rgb& colour, double angle = 0,
               bool lamp = false);
  void disc(Point centre, double r, const Rgb& colour, bool lamp = false);
  void ring(Point centre, double r, double thickness, const Rgb& colour);
  // A limb: a line of the given thickness with round ends.
  void limb(Point from, Point to, double thickness, const Rgb& colour, bool lamp = false);
  void glow(Point centre, double radius, const Rgb& colour, double strength);
  // A soft dark patch on the ground: rx metres to each side, rz behind the foot.
  void shadow(double rx, double rz);

  // Surfaces that do not lie on the plane: corners as (x, y, z) relative to the foot, unturned.
  struct Corner {
    double x, y, z;
  };
  void surface(const std::vector<Corner>& corners, const Rgb& colour, bool lamp = false);

  Pixel at(Point p) const;
  Canvas& canvas() { return canvas_; }
  double x() const { return x_; }
  double z() const { return z_; }

 private:
  Canvas& canvas_;
  double x_, z_, cos_, sin_;
};

}  // namespace mose::scenes
