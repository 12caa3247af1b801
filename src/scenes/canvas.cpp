#include "scenes/canvas.h"

#include <algorithm>
#include <cmath>
#include <numbers>
#include <opencv2/imgproc.hpp>

namespace mose::scenes {
namespace {

constexpr int kShift = 4;  // sub-pixel bits of OpenCV's polygons
constexpr double kUnit = 1 << kShift;

double clip(double value) {
  return std::clamp(value, 0.0, 255.0);
}

}  // namespace

Rgb mix(const Rgb& a, const Rgb& b, double t) {
  return {a.r + (b.r - a.r) * t, a.g + (b.g - a.g) * t, a.b + (b.b - a.b) * t};
}

Rgb Light::haze(const Rgb& colour, double z) const {
  return mix(colour, fog, 1 - std::exp(-z * fog_density));
}

Light::Shade Light::at(double z) const {
  const double beam = headlights / (1 + z * z / 200);
  return {{ambient.r / 255 + beam, ambient.g / 255 + beam, ambient.b / 255 + 0.9 * beam},
          fog,
          1 - std::exp(-z * fog_density)};
}

Rgb Light::Shade::operator()(const Rgb& surface) const {
  return mix({clip(surface.r * gain.r), clip(surface.g * gain.g), clip(surface.b * gain.b)}, fog,
             fog_share);
}

Canvas::Canvas(const Camera& camera_in, const Light& light_in)
    : image(static_cast<int>(camera_in.height), static_cast<int>(camera_in.width), CV_8UC3),
      camera(camera_in),
      light(light_in) {}

void Canvas::fill(const std::vector<Pixel>& points, const Rgb& colour) {
  points_.clear();
  for (const Pixel& p : points) {
    // Far outside the picture the exact position no longer matters, and integers must not overflow.
    const double u = std::clamp(p.u, -20000.0, 20000.0), v = std::clamp(p.v, -20000.0, 20000.0);
    points_.emplace_back(static_cast<int>(std::lround((u - 0.5) * kUnit)),
                         static_cast<int>(std::lround((v - 0.5) * kUnit)));
    if (!tracking) continue;
    left_ = std::min(left_, p.u);
    right_ = std::max(right_, p.u);
    top_ = std::min(top_, p.v);
    bottom_ = std::max(bottom_, p.v);
  }
  const cv::Point* data = points_.data();
  const int count = static_cast<int>(points_.size());
  cv::fillPoly(image, &data, &count, 1, cv::Scalar(colour.b, colour.g, colour.r), cv::LINE_AA,
               kShift);
}

void Canvas::glow(Pixel centre, double radius, const Rgb& colour, double strength) {
  glows_.push_back({centre, radius, colour, strength});
}

void Canvas::finish() {
  for (const Glow& g : glows_) {
    const int x0 = std::max(0, static_cast<int>(g.centre.u - g.radius));
    const int x1 = std::min(image.cols - 1, static_cast<int>(g.centre.u + g.radius));
    const int y0 = std::max(0, static_cast<int>(g.centre.v - g.radius));
    const int y1 = std::min(image.rows - 1, static_cast<int>(g.centre.v + g.radius));
    const double rgb[3] = {g.colour.b * g.strength, g.colour.g * g.strength,
                           g.colour.r * g.strength};
    for (int y = y0; y <= y1; ++y) {
      uint8_t* row = image.ptr<uint8_t>(y);
      for (int x = x0; x <= x1; ++x) {
        const double du = (x + 0.5 - g.centre.u) / g.radius, dv = (y + 0.5 - g.centre.v) / g.radius;
        const double t = 1 - (du * du + dv * dv);
        if (t <= 0) continue;
        const double k = t * t * t;
        for (int c = 0; c < 3; ++c) {
          uint8_t& value = row[3 * x + c];
          value = static_cast<uint8_t>(std::min(255.0, value + rgb[c] * k));
        }
      }
    }
  }
  glows_.clear();
}

void Canvas::begin_box() {
  left_ = top_ = 1e9;
  right_ = bottom_ = -1e9;
  tracking = true;
}

std::array<double, 4> Canvas::end_box() {
  const double x0 = std::floor(std::clamp(left_, 0.0, camera.width - 1));
  const double y0 = std::floor(std::clamp(top_, 0.0, camera.height - 1));
  const double x1 = std::ceil(std::clamp(right_, x0 + 1, camera.width));
  const double y1 = std::ceil(std::clamp(bottom_, y0 + 1, camera.height));
  return {x0, y0, x1 - x0, y1 - y0};
}

Pen::Pen(Canvas& canvas, double x, double z, double yaw, bool mirrored)
    : canvas_(canvas),
      x_(x),
      z_(z),
      cos_(std::cos(yaw) * (mirrored ? -1 : 1)),
      sin_(std::sin(yaw)) {}

Pixel Pen::at(Point p) const {
  return canvas_.camera.project(x_ + p.x * cos_, p.y, z_ + p.x * sin_);
}

void Pen::polygon(const std::vector<Point>& points, const Rgb& colour, bool lamp) {
  std::vector<Pixel> pixels;
  pixels.reserve(points.size());
  for (const Point& p : points) pixels.push_back(at(p));
  canvas_.fill(pixels, lamp ? canvas_.light.haze(colour, z_) : canvas_.light.shade(colour, z_));
}

void Pen::box(double x0, double y0, double x1, double y1, const Rgb& colour, bool lamp) {
  polygon({{x0, y0}, {x1, y0}, {x1, y1}, {x0, y1}}, colour, lamp);
}

void Pen::ellipse(Point centre, double rx, double ry, const Rgb& colour, double angle, bool lamp) {
  constexpr int kCorners = 20;
  const double c = std::cos(angle), s = std::sin(angle);
  std::vector<Point> points;
  points.reserve(kCorners);
  for (int i = 0; i < kCorners; ++i) {
    const double t = 2 * std::numbers::pi * i / kCorners;
    const double x = rx * std::cos(t), y = ry * std::sin(t);
    points.push_back({centre.x + x * c - y * s, centre.y + x * s + y * c});
  }
  polygon(points, colour, lamp);
}

void Pen::disc(Point centre, double r, const Rgb& colour, bool lamp) {
  ellipse(centre, r, r, colour, 0, lamp);
}

void Pen::ring(Point centre, double r, double thickness, const Rgb& colour) {
  constexpr int kCorners = 20;
  std::vector<Point> points;  // the outer circle, then the inner one back: a cut ring
  for (int i = 0; i <= 2 * kCorners + 1; ++i) {
    const bool inner = i > kCorners;
    const double t = 2 * std::numbers::pi * (inner ? 2 * kCorners + 1 - i : i) / kCorners;
    const double radius = inner ? r - thickness : r;
    points.push_back({centre.x + radius * std::cos(t), centre.y + radius * std::sin(t)});
  }
  polygon(points, colour);
}

void Pen::limb(Point from, Point to, double thickness, const Rgb& colour, bool lamp) {
  const double dx = to.x - from.x, dy = to.y - from.y;
  const double r = thickness / 2;
  const double angle = std::atan2(dy, dx) + std::numbers::pi / 2;
  std::vector<Point> points;
  constexpr int kCap = 5;
  for (int i = 0; i <= kCap; ++i) {
    const double t = angle + std::numbers::pi * i / kCap;
    points.push_back({from.x + r * std::cos(t), from.y + r * std::sin(t)});
  }
  for (int i = 0; i <= kCap; ++i) {
    const double t = angle + std::numbers::pi + std::numbers::pi * i / kCap;
    points.push_back({to.x + r * std::cos(t), to.y + r * std::sin(t)});
  }
  polygon(points, colour, lamp);
}

void Pen::glow(Point centre, double radius, const Rgb& colour, double strength) {
  canvas_.glow(at(centre), radius * canvas_.camera.scale(z_), colour,
               strength * std::exp(-z_ * canvas_.light.fog_density * 0.5));
}

void Pen::shadow(double rx, double rz) {
  const double near = std::min(rz, 0.35);  // most of it lies below the body
  // Nested ellipses, each darkening what lies below, make a soft edge.
  cv::Mat& image = canvas_.image;
  for (const double k : {1.12, 1.03, 0.94, 0.85}) {
    const Pixel a = canvas_.camera.project(x_ - rx * k, 0, z_);
    const Pixel b = canvas_.camera.project(x_ + rx * k, 0, z_);
    const double v0 = canvas_.camera.project(0, 0, z_ + rz * k).v;
    const double v1 = canvas_.camera.project(0, 0, std::max(2.0, z_ - near * k)).v;
    const double cu = (a.u + b.u) / 2, ru = (b.u - a.u) / 2;
    const double cv = (v0 + v1) / 2, rv = std::max(1.0, (v1 - v0) / 2);
    const int y0 = std::max(0, static_cast<int>(v0)),
              y1 = std::min(image.rows - 1, static_cast<int>(v1));
    for (int y = y0; y <= y1; ++y) {
      const double t = 1 - std::pow((y + 0.5 - cv) / rv, 2);
      if (t <= 0) continue;
      const double half = ru * std::sqrt(t);
      const int x0 = std::max(0, static_cast<int>(cu - half));
      const int x1 = std::min(image.cols - 1, static_cast<int>(cu + half));
      uint8_t* row = image.ptr<uint8_t>(y);
      for (int i = 3 * x0; i < 3 * (x1 + 1); ++i) row[i] = static_cast<uint8_t>(row[i] * 218 >> 8);
    }
  }
}

void Pen::surface(const std::vector<Corner>& corners, const Rgb& colour, bool lamp) {
  std::vector<Pixel> pixels;
  pixels.reserve(corners.size());
  for (const Corner& c : corners) {
    pixels.push_back(canvas_.camera.project(x_ + c.x, c.y, z_ + c.z));
  }
  canvas_.fill(pixels, lamp ? canvas_.light.haze(colour, z_) : canvas_.light.shade(colour, z_));
}

}  // namespace mose::scenes
