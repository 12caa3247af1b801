// What lies between the scene and the eye: rain, snow, glare and the camera's noise.
#include <algorithm>
#include <cmath>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

void lighten(cv::Mat& image, int u, int v, int amount) {
  if (u < 0 || v < 0 || u >= image.cols || v >= image.rows) return;
  uint8_t* pixel = image.ptr<uint8_t>(v) + 3 * u;
  for (int c = 0; c < 3; ++c) pixel[c] = static_cast<uint8_t>(std::min(255, pixel[c] + amount));
}

void draw_rain(Canvas& canvas, const Scene& scene, RandomStream& random) {
  const double unit = canvas.camera.width / 640, slant = random.uniform(-0.28, 0.28);
  const int bright = scene.time == "night" ? 38 : 52;
  for (int i = 0; i < 420; ++i) {
    const double u = random.uniform(-20, 660) * unit, v = random.uniform(-20, 360) * unit;
    const int length = static_cast<int>(random.uniform(9, 26) * unit);
    const int amount = static_cast<int>(bright * random.uniform(0.5, 1.1));
    for (int k = 0; k < length; ++k) {
      lighten(canvas.image, static_cast<int>(u + slant * k), static_cast<int>(v + k), amount);
    }
  }
  for (int i = 0; i < 70; ++i) {  // splashes on the road
    const double v = random.uniform(canvas.camera.horizon + 35 * unit, canvas.camera.height);
    const double u = random.uniform(0, canvas.camera.width);
    const double r = (v - canvas.camera.horizon) / 42;
    for (int k = 0; k < 12; ++k) {
      lighten(canvas.image, static_cast<int>(u + r * std::cos(k * .52)),
              static_cast<int>(v + .4 * r * std::sin(k * .52)), bright);
    }
  }
}

void draw_snow(Canvas& canvas, const Scene& scene, RandomStream& random) {
  const double unit = canvas.camera.width / 640;
  const double bright = scene.time == "night" ? 190 : 250;
  for (int i = 0; i < 260; ++i) {
    const double u = random.uniform(0, 640) * unit, v = random.uniform(0, 360) * unit;
    const double r = (0.7 + 2.0 * std::pow(random.uniform(), 3)) * unit;
    std::vector<Pixel> points;
    for (int k = 0; k < 8; ++k)
      points.push_back({u + r * std::cos(k * .785), v + r * std::sin(k * .785)});
    canvas.fill(points, {bright, bright, bright});
  }
}

}  // namespace

void draw_weather(Canvas& canvas, const Scene& scene, RandomStream& random) {
  if (scene.glare) {
    const double unit = canvas.camera.width / 640;
    const Pixel sun{random.uniform(230, 410) * unit,
                    canvas.camera.horizon - random.uniform(34, 62) * unit};
    const Rgb tint = scene.time == "dusk" ? Rgb{255, 190, 110} : Rgb{255, 244, 214};
    canvas.glow(sun, 260 * unit, tint, 0.45);
    canvas.glow(sun, 80 * unit, tint, 0.55);
    canvas.glow(sun, 30 * unit, {255, 255, 255}, 1.2);
  }
  canvas.finish();
  if (scene.weather == "rain") draw_rain(canvas, scene, random);
  if (scene.weather == "snow") draw_snow(canvas, scene, random);
  // Sensor noise: stronger in the dark.
  uint64_t state = random.next() | 1;
  const int spread = scene.time == "night" ? 13 : 9;
  for (int v = 0; v < canvas.image.rows; ++v) {
    uint8_t* row = canvas.image.ptr<uint8_t>(v);
    for (int i = 0; i < 3 * canvas.image.cols; i += 3) {
      state ^= state << 13;
      state ^= state >> 7;
      state ^= state << 17;
      const int noise =
          static_cast<int>((state >> 33) % static_cast<uint64_t>(spread)) - spread / 2;
      for (int c = 0; c < 3; ++c)
        row[i + c] = static_cast<uint8_t>(std::clamp(row[i + c] + noise, 0, 255));
    }
  }
}

}  // namespace mose::scenes
