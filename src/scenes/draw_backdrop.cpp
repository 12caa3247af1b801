// Light, sky, ground, markings, and what lines the road.
#include <algorithm>
#include <cmath>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

struct Sky {
  Rgb zenith, horizon;
};

Sky sky_of(const Scene& scene) {
  Sky sky{{74, 132, 206}, {196, 218, 238}};
  if (scene.time == "dusk") sky = {{70, 74, 130}, {250, 168, 104}};
  if (scene.time == "night") sky = {{8, 11, 26}, {30, 34, 54}};
  if (scene.weather == "clear") return sky;
  const double grey = scene.time == "day" ? 1 : scene.time == "dusk" ? 0.7 : 0.2;
  const Rgb warm = scene.time == "dusk" ? Rgb{1.05, 0.97, 0.97} : Rgb{1, 1, 1.04};
  auto tone = [&](double v) {
    return Rgb{v * grey * warm.r, v * grey * warm.g, v * grey * warm.b};
  };
  const double share = scene.weather == "fog" ? 0.95 : 0.82;
  const double top = scene.weather == "rain" ? 120 : scene.weather == "snow" ? 178 : 192;
  const double low = scene.weather == "rain" ? 158 : scene.weather == "snow" ? 206 : 206;
  return {mix(sky.zenith, tone(top), share), mix(sky.horizon, tone(low), share)};
}

// A value in [-1, 1) that depends only on the cell: the grain of asphalt and grass.
double grain(int64_t x, int64_t z, uint64_t salt) {
  uint64_t h = static_cast<uint64_t>(x) * 0x9e3779b97f4a7c15ull ^
               static_cast<uint64_t>(z) * 0xc2b2ae3d27d4eb4full ^ salt;
  h = (h ^ (h >> 29)) * 0xbf58476d1ce4e5b9ull;
  return static_cast<double>(h >> 40) / static_cast<double>(1 << 23) - 1;
}

double cover(double distance_inside, double scale) {
  return std::clamp(distance_inside * scale + 0.5, 0.0, 1.0);
}

void store(uint8_t* pixel, const Rgb& c) {
  pixel[0] = static_cast<uint8_t>(std::clamp(c.b, 0.0, 255.0));
  pixel[1] = static_cast<uint8_t>(std::clamp(c.g, 0.0, 255.0));
  pixel[2] = static_cast<uint8_t>(std::clamp(c.r, 0.0, 255.0));
}

struct Ground {
  Rgb road{92, 92, 96}, kerb{168, 166, 160}, side{140, 134, 126}, far{96, 132, 66};
};

Ground ground_of(const Scene& scene) {
  Ground g;
  if (scene.road == "country_road") g.kerb = {150, 142, 120}, g.side = {134, 124, 94};
  if (scene.road == "highway")
    g.road = {84, 86, 92}, g.kerb = {110, 110, 112}, g.side = {104, 104, 106};
  if (scene.road == "city_street") g.far = {148, 146, 140};
  if (scene.weather == "rain") {
    g = {g.road * 0.66, g.kerb * 0.72, g.side * 0.7, g.far * 0.75};
  } else if (scene.weather == "snow") {
    const Rgb white{232, 236, 242};
    g = {mix(g.road, white, 0.35), mix(g.kerb, white, 0.8), mix(g.side, white, 0.88), white};
  }
  return g;
}

// White (or yellow) paint at ground point (x, z): how much of the pixel it covers.
struct Markings {
  const Scene& scene;
  double phase;  // of the dashes, metres
  double line(double x, double at, double half, double scale) const {
    return cover(half - std::abs(x - at), scale);
  }
  // `dash`: whether row z lies on a dash.
  bool dash(double z) const { return std::fmod(z + phase, 7.0) < 3.6; }
  double white(double x, double z, double scale, bool dash) const {
    const double inner = kLaneWidth / 2, edge = kRoadHalf - 0.25, a = std::abs(x);
    double paint = line(a, edge, 0.08, scale);
    if (dash && (x > 0 || !scene.oncoming_left))
      paint = std::max(paint, line(a, inner, 0.085, scale));
    if (scene.crosswalk && z > 10.5 && z < 13 && a < kRoadHalf - 0.5) {
      const double t = std::fmod(x + 100, 0.95);
      paint = std::max(paint, cover(0.25 - std::abs(t - 0.475), scale));
    }
    return paint;
  }
  double yellow(double x, double scale) const {
    if (!scene.oncoming_left) return 0;
    const double at = -kLaneWidth / 2;
    return std::max(line(x, at - 0.14, 0.07, scale), line(x, at + 0.14, 0.07, scale));
  }
};

void draw_sky(Canvas& canvas, const Scene& scene, RandomStream& random) {
  const Sky sky = sky_of(scene);
  const int rows = std::min(canvas.image.rows, static_cast<int>(canvas.camera.horizon) + 2);
  for (int v = 0; v < rows; ++v) {
    const double t = std::pow(v / canvas.camera.horizon, 1.4);
    const Rgb colour = mix(sky.zenith, sky.horizon, std::min(1.0, t));
    uint8_t* row = canvas.image.ptr<uint8_t>(v);
    for (int u = 0; u < canvas.image.cols; ++u) store(row + 3 * u, colour);
  }
  const double unit = canvas.camera.width / 640;
  auto blob = [&](double u, double v, double ru, double rv, const Rgb& colour) {
    std::vector<Pixel> points;
    for (int i = 0; i < 16; ++i)
      points.push_back({u + ru * std::cos(i * .3927), v + rv * std::sin(i * .3927)});
    canvas.fill(points, colour);
  };
  if (scene.weather == "clear" && scene.time == "night") {
    for (int i = 0; i < 70; ++i) {
      const double u = random.uniform(0, canvas.camera.width),
                   v = random.uniform(0, canvas.camera.horizon * .8);
      const double r = random.uniform(.4, .9) * unit, k = random.uniform(.4, 1);
      blob(u, v, r, .7 * unit, Rgb{210, 215, 230} * k);
    }
    const double u = random.uniform(60, 580) * unit, v = random.uniform(20, 50) * unit;
    blob(u, v, 11 * unit, 11 * unit, {236, 232, 210});
    canvas.glow({u, v}, 60 * unit, {150, 160, 190}, 0.4);
  } else if (scene.weather == "clear") {
    const Rgb cloud = scene.time == "day" ? Rgb{240, 244, 250} : Rgb{238, 170, 140};
    for (int64_t i = random.integer(2, 4); i > 0; --i) {
      const double u = random.uniform(0, 640) * unit, v = random.uniform(15, 85) * unit;
      for (int k = 0; k < 5; ++k) {
        const double lift = random.uniform(-4, 4) * unit, ru = random.uniform(16, 30) * unit;
        const double rv = random.uniform(5, 10) * unit;
        blob(u + (k - 2) * 16 * unit, v + lift, ru, rv, mix(cloud, sky.zenith, 0.18));
      }
    }
  }
}

void draw_hills(Canvas& canvas, const Scene& scene, RandomStream& random) {
  for (int layer = 0; layer < 2; ++layer) {
    Rgb colour = scene.road == "city_street" ? Rgb{108, 114, 124} : Rgb{84, 112, 84};
    if (scene.weather == "snow") colour = mix(colour, {225, 230, 238}, 0.55);
    const double z = layer ? 40 : 70, unit = canvas.camera.width / 640;
    std::vector<Pixel> points = {{0, canvas.camera.horizon + 3}};
    double v = random.uniform(8, 26);
    for (int u = 0; u <= 640; u += 20) {
      v = std::clamp(v + random.uniform(-5, 5), 3.0, layer ? 18.0 : 36.0);
      points.push_back({u * unit, canvas.camera.horizon - v * unit});
    }
    points.push_back({canvas.camera.width, canvas.camera.horizon + 3});
    canvas.fill(points, canvas.light.shade(mix(colour, {170, 188, 206}, layer ? 0.1 : 0.4), z));
  }
}

void draw_ground(Canvas& canvas, const Scene& scene, RandomStream& random) {
  const Ground ground = ground_of(scene);
  const Markings marks{scene, random.uniform(0, 7)};
  const uint64_t salt = random.next();
  const Camera& camera = canvas.camera;
  const bool snow = scene.weather == "snow", paved = scene.road == "city_street" && !snow;
  const bool wet = scene.weather == "rain";
  const Rgb white = snow ? Rgb{214, 216, 222} : Rgb{226, 226, 222}, yellow{224, 178, 40};
  const double side_edge = 8.3, kerb = kRoadHalf + 0.28;
  for (int v = std::max(0, static_cast<int>(camera.horizon) + 1); v < canvas.image.rows; ++v) {
    const double z = camera.depth(v + 0.5), scale = camera.scale(z);
    // The grain's cells double with distance, so that they stay a few pixels large.
    const double cell = 0.07 * std::exp2(std::max(0.0, std::floor(std::log2(z / 5))));
    const double strength = 9.0 / (1 + z / 25);
    const bool dash = marks.dash(z);
    const Light::Shade shade = canvas.light.at(z);
    const double joint_z = std::fmod(z, 1.1);
    const int64_t cell_z = static_cast<int64_t>(std::floor(z / (2 * cell)));
    uint8_t* row = canvas.image.ptr<uint8_t>(v);
    for (int u = 0; u < canvas.image.cols; ++u) {
      const double x = (u + 0.5 - camera.centre) / scale, a = std::abs(x);
      Rgb c;
      if (a < kRoadHalf + 0.5 / scale) {
        c = mix(ground.kerb, ground.road, cover(kRoadHalf - a, scale));
        if (snow) {  // wheel tracks stay dark
          const double lane = a < kLaneWidth / 2 ? a : a - kLaneWidth;
          const double off = (std::abs(lane) - 0.75) / 0.35, track = std::max(0.0, 1 - off * off);
          c = mix(c, {236, 239, 245}, 0.55 * (1 - track));
        }
        c = mix(c, white, 0.92 * marks.white(x, z, scale, dash));
        c = mix(c, yellow, 0.92 * marks.yellow(x, scale));
      } else if (a < kerb + 0.5 / scale) {
        c = mix(ground.side, ground.kerb, cover(kerb - a, scale));
      } else {
        c = mix(ground.far, ground.side, cover(side_edge - a, scale));
        if (paved && scale > 14 && a < side_edge) {  // joints of the slabs
          const double joint = std::min(std::fmod(a, 1.1), joint_z);
          if (joint * scale < 1.2) c = c * 0.88;
        }
      }
      const double g = grain(static_cast<int64_t>(std::floor(x / cell)), cell_z, salt);
      const double k = 1 + g * strength / 130;
      store(row + 3 * u, shade({c.r * k, c.g * k, c.b * k}));
    }
    if (!wet) continue;
    // A wet road mirrors what stands above the horizon.
    const int mirror = static_cast<int>(2 * camera.horizon) - v;
    const uint8_t* above = canvas.image.ptr<uint8_t>(std::clamp(mirror, 0, canvas.image.rows - 1));
    for (int u = 0; u < canvas.image.cols; ++u) {
      const double x = (u + 0.5 - camera.centre) / scale;
      const double puddle = grain(static_cast<int64_t>(std::floor(x / 0.9)),
                                  static_cast<int64_t>(std::floor(z / 1.7)), salt ^ 77);
      const double k = std::abs(x) < kRoadHalf ? (puddle > 0.55 ? 0.34 : 0.25) : 0.12;
      for (int ch = 0; ch < 3; ++ch) {
        uint8_t& value = row[3 * u + ch];
        value = static_cast<uint8_t>(value * (1 - k) + above[3 * u + ch] * k);
      }
    }
  }
}

void draw_building(Canvas& canvas, const Scene& scene, double side, double z0, double z1,
                   RandomStream& random) {
  const std::vector<Rgb> walls = {
      {178, 150, 124}, {156, 106, 86}, {188, 184, 172}, {130, 136, 146}, {202, 186, 150}};
  const Rgb tone = random.choice(walls);
  const Rgb wall = tone * random.uniform(0.85, 1.05);
  const double x0 = side * random.uniform(9.2, 10.2), x1 = side * 24, h = random.uniform(5.5, 15);
  Pen pen(canvas, 0, z0);
  const Light& light = canvas.light;
  auto quad = [&](double xa, double za, double xb, double zb, double ya, double yb, const Rgb& c,
                  bool lamp, double z) {
    const Camera& cam = canvas.camera;
    canvas.fill({cam.project(xa, ya, za), cam.project(xb, ya, zb), cam.project(xb, yb, zb),
                 cam.project(xa, yb, za)},
                lamp ? light.haze(c, z) : light.shade(c, z));
  };
  quad(x0, z0, x1, z0, 0, h, wall * 0.8, false, z0);
  quad(x0, z0, x0, z1, 0, h, wall, false, 0.5 * (z0 + z1));
  quad(x0, z0, x0, z1, 0, 0.7, wall * 0.65, false, 0.5 * (z0 + z1));
  quad(x0, z0, x0, z1, h - 0.35, h, wall * 0.75, false, 0.5 * (z0 + z1));
  const int columns = std::max(1, static_cast<int>((z1 - z0) / 3.2)),
            floors = static_cast<int>((h - 1) / 3);
  const double pitch = (z1 - z0) / columns, lit = scene.time == "night"  ? 0.35
                                                  : scene.time == "dusk" ? 0.3
                                                                         : 0;
  for (int f = 0; f < floors; ++f) {
    for (int c = 0; c < columns; ++c) {
      const double za = z0 + pitch * (c + 0.25), zb = z0 + pitch * (c + 0.75), y = 1.2 + 3.0 * f;
      const bool lamp = random.chance(lit);
      quad(x0, za, x0, zb, y, y + 1.6, lamp ? Rgb{240, 205, 130} : Rgb{70, 86, 102}, lamp, za);
    }
  }
}

void draw_tree(Canvas& canvas, const Scene& scene, double x, double z, RandomStream& random) {
  Pen pen(canvas, x, z);
  const double h = random.uniform(3.8, 7), w = random.uniform(1.1, 1.9);
  pen.limb({0, 0}, {0, h * .5}, .3, {84, 64, 46});
  const Rgb leaf = Rgb{62, 104, 46} * random.uniform(0.75, 1.15);
  const bool snow = scene.weather == "snow";
  if (random.chance(0.4)) {  // a fir
    for (int i = 0; i < 4; ++i) {
      const double y = h * (.2 + .2 * i), r = w * (1.0 - .2 * i);
      pen.polygon({{-r, y}, {r, y}, {0, y + h * .34}}, leaf * (0.65 + .07 * i));
      if (snow)
        pen.polygon({{-r * .55, y + h * .13}, {r * .4, y + h * .15}, {0, y + h * .34}},
                    {232, 236, 242});
    }
    return;
  }
  for (int i = 0; i < 9; ++i) {
    const double t = random.uniform(0, 6.28), d = random.uniform(0, .75);
    const double y = h * .68 + d * h * .26 * std::sin(t);
    Rgb tone = leaf * (0.75 + 0.35 * (y / h) + random.uniform(-.08, .08));
    if (snow && std::sin(t) > 0) tone = mix(tone, {232, 236, 242}, .7);
    const double rx = w * random.uniform(.4, .62), ry = h * random.uniform(.11, .17);
    pen.ellipse({d * w * std::cos(t), y}, rx, ry, tone);
  }
}

void draw_lamp_post(Canvas& canvas, const Scene& scene, double side, double z) {
  Pen pen(canvas, side * 8.6, z);
  pen.limb({0, 0}, {0, 6.5}, .14, {96, 98, 102});
  pen.limb({0, 6.5}, {-side * 1.6, 6.9}, .1, {96, 98, 102});
  const bool lit = scene.time != "day";
  pen.limb({-side * 1.5, 6.85}, {-side * 2.1, 6.9}, .16,
           lit ? Rgb{255, 236, 190} : Rgb{190, 190, 190}, lit);
  if (lit) pen.glow({-side * 1.8, 6.85}, scene.time == "night" ? 2.2 : 1.2, {255, 210, 140}, 0.7);
}

void draw_roadside(Canvas& canvas, const Scene& scene, RandomStream& random) {
  for (const double side : {-1.0, 1.0}) {
    std::vector<double> starts;
    for (double z = random.uniform(9, 14); z < 75; z += random.uniform(9, 16)) starts.push_back(z);
    for (size_t i = starts.size(); i-- > 0;) {
      const double z = starts[i];
      if (scene.road == "city_street") {
        draw_building(canvas, scene, side, z, z + random.uniform(7, 11), random);
        if (random.chance(0.45))
          draw_tree(canvas, scene, side * random.uniform(8.2, 8.8), z + 1, random);
      } else {
        const int64_t count =
            scene.road == "country_road" ? random.integer(1, 3) : random.integer(0, 1);
        for (int64_t k = count; k > 0; --k) {
          draw_tree(canvas, scene, side * random.uniform(9.5, 17), z + 2.5 * static_cast<double>(k),
                    random);
        }
      }
      if (scene.road != "country_road" && i % 2 == 0) draw_lamp_post(canvas, scene, side, z);
    }
  }
}

}  // namespace

Light scene_light(const Scene& scene) {
  Light light;
  if (scene.time == "dusk") light.ambient = {200, 168, 160};
  if (scene.time == "night") light.ambient = {78, 84, 108};
  const double dull = scene.weather == "clear" ? 1 : scene.weather == "rain" ? 0.84 : 0.94;
  light.ambient = light.ambient * dull;
  light.headlights = scene.time == "night" ? 0.8 : 0;
  light.fog = sky_of(scene).horizon;
  light.fog_density = scene.weather == "fog"    ? 0.046
                      : scene.weather == "snow" ? 0.009
                      : scene.weather == "rain" ? 0.007
                                                : 0.0025;
  return light;
}

void draw_backdrop(Canvas& canvas, const Scene& scene, RandomStream& random) {
  draw_sky(canvas, scene, random);
  draw_hills(canvas, scene, random);
  draw_ground(canvas, scene, random);
  draw_roadside(canvas, scene, random);
}

}  // namespace mose::scenes
