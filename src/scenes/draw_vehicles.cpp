// Cars, trucks and buses: a side profile pulled to the vehicle's width, seen from behind or ahead.
#include <algorithm>
#include <cmath>
#include <numbers>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

const Rgb kGlass{52, 66, 80}, kTyre{28, 28, 30}, kHub{150, 150, 155}, kDark{38, 38, 42};

// A point of the side profile: metres behind the near end (d) and above the ground (h).
struct Outline {
  double d, h;
};

// Half the body's width at height h: the cabin leans inwards.
struct Shell {
  Pen& pen;
  double half, shoulder, lean;
  double width_at(double h) const { return half * (1 - lean * std::max(0.0, h - shoulder)); }
  Pen::Corner corner(double side, const Outline& o) const {
    return {side * width_at(o.h), o.h, o.d};
  }
};

// The strip of body between two neighbouring profile points, over the whole width.
void strip(const Shell& shell, const Outline& a, const Outline& b, const Rgb& colour) {
  shell.pen.surface(
      {shell.corner(-1, a), shell.corner(1, a), shell.corner(1, b), shell.corner(-1, b)}, colour);
}

// The part of a strip between `from` and `to` of its height, inset by `inset` of its width.
void inset_strip(const Shell& shell, const Outline& a, const Outline& b, double from, double to,
                 double inset, const Rgb& colour) {
  const Outline p{a.d + (b.d - a.d) * from, a.h + (b.h - a.h) * from};
  const Outline q{a.d + (b.d - a.d) * to, a.h + (b.h - a.h) * to};
  const double s = 1 - inset;
  shell.pen.surface(
      {shell.corner(-s, p), shell.corner(s, p), shell.corner(s, q), shell.corner(-s, q)}, colour);
}

// The side that faces the camera, -1 (left) or 1; a vehicle right ahead shows neither well.
double visible_side(const Object& object) {
  return object.x > 0 ? -1 : 1;
}

void side(const Shell& shell, double which, const std::vector<Outline>& outline,
          const Rgb& colour) {
  std::vector<Pen::Corner> corners;
  for (const Outline& o : outline) corners.push_back(shell.corner(which, o));
  shell.pen.surface(corners, colour);
}

void wheel(const Shell& shell, double which, double d, double r) {
  for (const auto& [radius, colour] : {std::pair{r, kTyre}, {0.58 * r, kHub}, {0.2 * r, kDark}}) {
    std::vector<Pen::Corner> corners;
    for (int i = 0; i < 16; ++i) {
      const double t = 2 * std::numbers::pi * i / 16;
      corners.push_back({which * shell.half, r + radius * std::sin(t), d + radius * std::cos(t)});
    }
    shell.pen.surface(corners, colour);
  }
}

// A rectangle on the near face.
void face(Pen& pen, double x0, double y0, double x1, double y1, const Rgb& colour,
          bool lamp = false) {
  pen.surface({{x0, y0, -0.01}, {x1, y0, -0.01}, {x1, y1, -0.01}, {x0, y1, -0.01}}, colour, lamp);
}

void lamps(Pen& pen, const Scene& scene, double x, double y, double w, double h, bool front) {
  const bool lit = scene.time != "day" || scene.weather != "clear";
  const Rgb off = front ? Rgb{225, 228, 232} : Rgb{165, 22, 26};
  const Rgb on = front ? Rgb{255, 250, 225} : Rgb{255, 45, 40};
  for (const double s : {-1.0, 1.0}) {
    face(pen, s * x - w / 2, y - h / 2, s * x + w / 2, y + h / 2, lit ? on : off, lit);
    if (!lit) continue;
    const double strength = scene.time == "night" ? 0.8 : 0.4;
    const Rgb halo = front ? Rgb{255, 240, 200} : Rgb{255, 60, 40};
    pen.canvas().glow(pen.canvas().camera.project(pen.x() + s * x, y, pen.z()),
                      (front ? 0.8 : 0.45) * pen.canvas().camera.scale(pen.z()), halo, strength);
  }
}

void ground_wheels(Pen& pen, double x, double w, double h) {
  for (const double s : {-1.0, 1.0}) {
    pen.surface({{s * x - w / 2, 0, 0.2},
                 {s * x + w / 2, 0, 0.2},
                 {s * x + w / 2, h, 0.2},
                 {s * x - w / 2, h, 0.2}},
                kTyre);
  }
}

}  // namespace

void draw_car(Canvas& canvas, const Object& o, const Scene& scene, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  const ClassSpec& spec = *o.spec;
  const Rgb body = paint(o.colour, random);
  const double l = spec.length * random.uniform(0.95, 1.05),
               h = spec.height * random.uniform(0.96, 1.06);
  const bool hatch = random.chance(0.5);
  const Shell shell{pen, spec.width / 2, 0.95, 0.28};
  canvas.tracking = false;
  pen.shadow(spec.width * 0.56, 2.2);
  canvas.tracking = true;
  ground_wheels(pen, 0.68, 0.24, 0.4);

  // From the near end up over the roof to the far end; `glass` marks the near window's strip.
  std::vector<Outline> p;
  if (o.oncoming) {
    p = {{0, .3},        {0, .72},      {.95, .98}, {1.75, h - .06}, {2.3, h},
         {3.3, h - .05}, {l - .3, .98}, {l, .8},    {l, .3}};
  } else if (hatch) {
    p = {{0, .3},        {0, .95},   {.12, 1.0}, {.5, h - .03}, {1.2, h},
         {2.4, h - .02}, {3.1, 1.0}, {l, .8},    {l, .3}};
  } else {
    p = {{0, .3},        {0, .9},    {.6, 1.0}, {1.2, h - .03}, {1.8, h},
         {2.6, h - .03}, {3.3, .98}, {l, .8},   {l, .3}};
  }
  for (size_t i = p.size() - 2; i >= 1; --i) {
    const bool window = i == 2;
    const double up = i >= 3 ? 1.08 : i == 1 ? 1.04 : 1.0;
    strip(shell, p[i], p[i + 1], body * up);
    if (window) {
      inset_strip(shell, p[2], p[3], 0.08, 0.9, 0.1, kGlass);
      inset_strip(shell, p[2], p[3], 0.6, 0.9, 0.1, mix(kGlass, {150, 170, 190}, 0.35));
    }
    if (i == 1) break;
  }
  const double which = visible_side(o);
  side(shell, which, p, body * 0.78);
  const Outline a = p[2], b = p[3], c = p[p.size() - 4], d = p[p.size() - 3];
  const double mid = 0.5 * (b.d + c.d);
  side(shell, which,
       {{a.d + .25, 1.0}, {b.d + .05, h - .1}, {mid - .04, h - .08}, {mid - .04, 1.0}}, kGlass);
  side(shell, which,
       {{mid + .04, 1.0}, {mid + .04, h - .08}, {c.d - .05, h - .1}, {d.d - .25, 1.0}}, kGlass);
  wheel(shell, which, 0.75, 0.33);
  wheel(shell, which, l - 0.8, 0.33);

  // Near face.
  const double half = spec.width / 2;
  strip(shell, {0, .3}, {0, .72}, body * 0.92);
  if (o.oncoming) {
    face(pen, -.5, .5, .5, .68, kDark);
    face(pen, -half * .9, .3, half * .9, .42, kDark * 1.3);
    lamps(pen, scene, half * .74, .64, .34, .15, true);
  } else {
    strip(shell, {0, .72}, {0, p[1].h}, body);
    face(pen, -half * .95, .3, half * .95, .46, body * 0.6);
    lamps(pen, scene, half * .78, .8, .32, .18, false);
  }
  face(pen, -.26, o.oncoming ? .38 : .54, .26, o.oncoming ? .49 : .66, {225, 228, 235});
}

void draw_truck(Canvas& canvas, const Object& o, const Scene& scene, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  const ClassSpec& spec = *o.spec;
  const Rgb body = paint(o.colour, random);
  const std::string cab_colour = random.chance(0.5) ? "white" : "blue";
  const Rgb cab = paint(cab_colour, random);
  const double half = spec.width / 2, top = spec.height, l = spec.length;
  const Shell shell{pen, half, 9, 0};
  canvas.tracking = false;
  pen.shadow(spec.width * 0.58, 2.6);
  canvas.tracking = true;
  ground_wheels(pen, half * .74, .42, .85);
  const double which = visible_side(o);
  if (o.oncoming) {
    // The load behind, then the cab in front of it.
    side(shell, which, {{1.9, .8}, {1.9, top}, {l, top}, {l, .8}}, body * 0.75);
    strip(shell, {1.9, .8}, {1.9, top}, body * 0.9);
    side(shell, which, {{0, .45}, {0, 2.0}, {.3, 2.6}, {1.7, 2.6}, {1.7, .45}}, cab * 0.75);
    side(shell, which, {{.35, 1.6}, {.5, 2.4}, {1.3, 2.4}, {1.3, 1.6}}, kGlass);
    wheel(shell, which, 1.0, .48);
    wheel(shell, which, l - 1.2, .48);
    face(pen, -half, .45, half, 2.6, cab);
    face(pen, -half * .9, 1.55, half * .9, 2.45, kGlass);
    face(pen, -half * .9, 2.1, half * .9, 2.45, mix(kGlass, {150, 170, 190}, 0.3));
    face(pen, -half * .6, .85, half * .6, 1.4, kDark);
    for (const double y : {.97, 1.1, 1.23}) face(pen, -half * .6, y, half * .6, y + .04, kHub);
    face(pen, -half, .45, half, .68, kDark * 1.4);
    lamps(pen, scene, half * .8, .78, .36, .2, true);
    for (const double s : {-1.0, 1.0})
      face(pen, s * (half + .2) - .1, 1.7, s * (half + .2) + .1, 2.3, kDark);
    return;
  }
  side(shell, which, {{0, .85}, {0, top}, {l - 2, top}, {l - 2, .85}}, body * 0.75);
  side(shell, which, {{l - 1.8, .6}, {l - 1.8, 2.6}, {l - .4, 2.6}, {l, 1.8}, {l, .6}}, cab * 0.75);
  side(shell, which, {{l - 1.3, 1.6}, {l - 1.3, 2.4}, {l - .5, 2.4}, {l - .25, 1.6}}, kGlass);
  side(shell, which, {{.3, .55}, {.3, .85}, {l - 2, .85}, {l - 2, .55}}, kDark);
  for (const double d : {.9, 1.95, l - 1.0}) wheel(shell, which, d, .48);
  face(pen, -half, .85, half, top, body);
  face(pen, -half, top - .12, half, top, body * 0.8);
  for (const double s : {-1.0, 1.0}) {
    face(pen, s * half * .52 - half * .42, 1.05, s * half * .52 + half * .42, top - .22,
         body * 1.06);
    face(pen, s * .18 - .03, 1.1, s * .18 + .03, top - .3, kHub * 0.8);  // locking bars
    face(pen, s * .75 - .02, 1.1, s * .75 + .02, top - .3, kHub * 0.8);
  }
  face(pen, -.03, .95, .03, top - .15, body * 0.55);
  face(pen, -half, .6, half, .85, kDark);
  for (int i = 0; i < 8; ++i) {  // reflecting stripe
    const double x = -half + i * spec.width / 8;
    face(pen, x, .64, x + spec.width / 8, .8, i % 2 ? Rgb{235, 235, 235} : Rgb{210, 30, 30});
  }
  lamps(pen, scene, half * .85, .95, .26, .18, false);
  face(pen, -.3, .4, .3, .56, {235, 200, 60});
}

void draw_bus(Canvas& canvas, const Object& o, const Scene& scene, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  const ClassSpec& spec = *o.spec;
  const Rgb body = paint(o.colour, random), pale{232, 232, 228};
  const double half = spec.width / 2, top = spec.height, l = spec.length;
  const Shell shell{pen, half, 2.4, 0.08};
  canvas.tracking = false;
  pen.shadow(spec.width * 0.58, 2.6);
  canvas.tracking = true;
  ground_wheels(pen, half * .76, .34, .6);
  const double which = visible_side(o);
  const bool lit = scene.time == "night";
  const Rgb window = lit ? Rgb{235, 215, 150} : kGlass;
  side(shell, which, {{0, .4}, {0, top}, {l, top}, {l, .4}}, body * 0.78);
  side(shell, which, {{0, .75}, {0, 1.15}, {l, 1.15}, {l, .75}}, pale * 0.8);
  for (int i = 0; i < 6; ++i) {
    const double d0 = .3 + i * (l - .6) / 6, d1 = d0 + (l - .6) / 6 - .18;
    std::vector<Pen::Corner> corners;
    for (const Outline& q : {Outline{d0, 1.5}, {d0, 2.55}, {d1, 2.55}, {d1, 1.5}}) {
      corners.push_back(shell.corner(which, q));
    }
    pen.surface(corners, window, lit);
  }
  wheel(shell, which, 1.6, .45);
  wheel(shell, which, l - 1.8, .45);
  strip(shell, {0, .4}, {0, 2.4}, body);
  strip(shell, {0, 2.4}, {0, top}, body * 1.05);
  face(pen, -half, .75, half, 1.1, pale);
  if (o.oncoming) {
    face(pen, -half * .92, 1.25, half * .92, 2.5, kGlass);
    face(pen, -half * .92, 2.0, half * .92, 2.5, mix(kGlass, {150, 170, 190}, 0.3));
    face(pen, -.03, 1.25, .03, 2.5, kDark);
    face(pen, -half * .7, 2.6, half * .7, 2.95, kDark);
    for (int i = 0; i < 5; ++i)
      face(pen, -.62 + i * .27, 2.68, -.45 + i * .27, 2.87, {255, 170, 40}, true);
    lamps(pen, scene, half * .78, .68, .4, .2, true);
    for (const double s : {-1.0, 1.0})
      face(pen, s * (half + .18) - .09, 1.8, s * (half + .18) + .09, 2.4, kDark);
  } else {
    face(pen, -half * .85, 1.55, half * .85, 2.45, window, lit);
    if (!lit) face(pen, -half * .85, 2.15, half * .85, 2.45, mix(kGlass, {150, 170, 190}, 0.3));
    face(pen, -.45, 2.6, .45, 2.9, kDark);
    for (int i = 0; i < 3; ++i)
      face(pen, -.33 + i * .25, 2.66, -.16 + i * .25, 2.84, {255, 170, 40}, true);
    face(pen, -half * .6, .5, half * .6, .72, kDark * 1.2);
    lamps(pen, scene, half * .85, 1.3, .22, .36, false);
    face(pen, -.28, .55, .28, .68, {235, 235, 235});
  }
  face(pen, -half, .38, half, .48, kDark);
}

}  // namespace mose::scenes
