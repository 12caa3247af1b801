// Signs, lights, cones, barriers and bollards.
#include <cmath>
#include <numbers>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

const Rgb kPole{128, 130, 134}, kWhite{242, 242, 242}, kRed{206, 28, 34}, kBlack{24, 24, 26};
const Rgb kSignBlue{30, 84, 176}, kYellow{250, 206, 40};

// Seven segments on a 1 x 2 grid, for the digits on speed limit signs.
void digit(Pen& pen, int value, double x, double y, double w, double h, double t) {
  constexpr int kSegments[10] = {0x77, 0x24, 0x5d, 0x6d, 0x2e, 0x6b, 0x7b, 0x25, 0x7f, 0x6f};
  const int on = kSegments[value];
  const Point p[6] = {{x, y + h},         {x + w, y + h}, {x, y + h / 2},
                      {x + w, y + h / 2}, {x, y},         {x + w, y}};
  constexpr int kEnds[7][2] = {{0, 1}, {0, 2}, {1, 3}, {2, 3}, {2, 4}, {3, 5}, {4, 5}};
  for (int i = 0; i < 7; ++i) {
    if (on >> i & 1) pen.limb(p[kEnds[i][0]], p[kEnds[i][1]], t, kBlack);
  }
}

// The walking figure of pictograms.
void figure(Pen& pen, Point foot, double k, const Rgb& colour) {
  auto p = [&](double x, double y) { return Point{foot.x + x * k, foot.y + y * k}; };
  pen.disc(p(.02, .9), .1 * k, colour);
  pen.limb(p(0, .72), p(0, .42), .16 * k, colour);
  pen.limb(p(0, .42), p(-.22, .03), .1 * k, colour);
  pen.limb(p(0, .42), p(.22, .03), .1 * k, colour);
  pen.limb(p(0, .7), p(-.24, .48), .08 * k, colour);
  pen.limb(p(0, .7), p(.24, .5), .08 * k, colour);
}

void speed_limit(Pen& pen, Point c, double r, RandomStream& random) {
  pen.disc(c, r, kRed);
  pen.disc(c, r * .78, kWhite);
  const int tens = static_cast<int>(random.integer(3, 8));
  digit(pen, tens, c.x - .46 * r, c.y - .36 * r, .3 * r, .72 * r, .13 * r);
  digit(pen, 0, c.x + .14 * r, c.y - .36 * r, .3 * r, .72 * r, .13 * r);
}

void stop_sign(Pen& pen, Point c, double r) {
  for (const auto& [radius, colour] : {std::pair{r * 1.06, kWhite}, {r * .96, kRed}}) {
    std::vector<Point> corners;
    for (int i = 0; i < 8; ++i) {
      const double t = std::numbers::pi * (i + .5) / 4;
      corners.push_back({c.x + radius * std::cos(t), c.y + radius * std::sin(t)});
    }
    pen.polygon(corners, colour);
  }
  // STOP in strokes on a grid of 1 x 2 cells a letter.
  const std::vector<std::vector<Point>> letters[4] = {
      {{{1, 2}, {0, 2}, {0, 1}, {1, 1}, {1, 0}, {0, 0}}},
      {{{0, 2}, {1, 2}}, {{.5, 2}, {.5, 0}}},
      {{{0, 0}, {0, 2}, {1, 2}, {1, 0}, {0, 0}}},
      {{{0, 0}, {0, 2}, {1, 2}, {1, 1}, {0, 1}}}};
  const double w = .26 * r, h = .26 * r;
  for (int i = 0; i < 4; ++i) {
    const double x0 = c.x - .74 * r + i * .4 * r, y0 = c.y - h;
    for (const std::vector<Point>& stroke : letters[i]) {
      for (size_t k = 1; k < stroke.size(); ++k) {
        pen.limb({x0 + stroke[k - 1].x * w, y0 + stroke[k - 1].y * h},
                 {x0 + stroke[k].x * w, y0 + stroke[k].y * h}, .1 * r, kWhite);
      }
    }
  }
}

void crossing_sign(Pen& pen, Point c, double r) {
  pen.box(c.x - r, c.y - r, c.x + r, c.y + r, kWhite);
  pen.box(c.x - r * .94, c.y - r * .94, c.x + r * .94, c.y + r * .94, kSignBlue);
  pen.polygon({{c.x - .8 * r, c.y - .7 * r}, {c.x + .8 * r, c.y - .7 * r}, {c.x, c.y + .82 * r}},
              kWhite);
  figure(pen, {c.x, c.y - .66 * r}, 1.15 * r, kBlack);
}

void road_work_sign(Pen& pen, Point c, double r) {
  pen.polygon(
      {{c.x - 1.15 * r, c.y - .85 * r}, {c.x + 1.15 * r, c.y - .85 * r}, {c.x, c.y + 1.1 * r}},
      kRed);
  pen.polygon({{c.x - .8 * r, c.y - .66 * r}, {c.x + .8 * r, c.y - .66 * r}, {c.x, c.y + .72 * r}},
              kYellow);
  // A man with a shovel and a heap.
  pen.disc({c.x - .08 * r, c.y + .25 * r}, .11 * r, kBlack);
  pen.limb({c.x - .1 * r, c.y + .1 * r}, {c.x - .18 * r, c.y - .2 * r}, .16 * r, kBlack);
  pen.limb({c.x - .18 * r, c.y - .2 * r}, {c.x - .34 * r, c.y - .58 * r}, .1 * r, kBlack);
  pen.limb({c.x - .18 * r, c.y - .2 * r}, {c.x - .04 * r, c.y - .58 * r}, .1 * r, kBlack);
  pen.limb({c.x - .1 * r, c.y + .05 * r}, {c.x + .28 * r, c.y - .4 * r}, .07 * r, kBlack);
  pen.ellipse({c.x + .4 * r, c.y - .54 * r}, .24 * r, .12 * r, kBlack);
}

void direction_board(Canvas& canvas, Pen& pen, double y) {
  canvas.tracking = false;
  const double reach = 5.6 - pen.x();  // the gantry's post stands right of the road
  pen.box(reach - .14, 0, reach + .14, y + .9, kPole * 0.85);
  pen.box(-2.1, y + .35, reach, y + .6, kPole);
  canvas.tracking = true;
  const Rgb green{14, 104, 62};
  pen.box(-2.1, y - .75, 2.1, y + .85, kWhite);
  pen.box(-2.02, y - .67, 2.02, y + .77, green);
  for (const double x : {-1.25, 1.25}) {
    pen.box(x - .6, y + .3, x + .6, y + .44, kWhite);  // a line of text, as far away
    pen.box(x - .45, y + .06, x + .45, y + .18, kWhite);
    pen.limb({x, y - .1}, {x, y - .48}, .12, kWhite);
    pen.polygon({{x - .24, y - .32}, {x + .24, y - .32}, {x, y - .6}}, kWhite);
  }
  pen.box(-.03, y - .6, .03, y + .7, kWhite);
}

}  // namespace

void draw_traffic_sign(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  if (o.kind == "direction") return direction_board(canvas, pen, 4.95);
  canvas.tracking = false;
  pen.shadow(.25, .2);
  canvas.tracking = true;
  pen.box(-.05, 0, .05, 2.3, kPole);
  const Point c{0, 2.6};
  if (o.kind == "speed_limit") speed_limit(pen, c, .68, random);
  if (o.kind == "stop") stop_sign(pen, c, .68);
  if (o.kind == "crossing") crossing_sign(pen, c, .62);
  if (o.kind == "road_work") road_work_sign(pen, c, .68);
}

void draw_traffic_light(Canvas& canvas, const Object& o, const Scene& scene, RandomStream&) {
  Pen pen(canvas, o.x, o.z);
  const bool overhead = o.place == Place::kOverhead;
  const double y = overhead ? 4.75 : 2.95;  // middle of the housing
  if (overhead) {
    canvas.tracking = false;
    const double reach = 5.6 - o.x;
    pen.box(reach - .12, 0, reach + .12, 5.3, kPole * 0.8);
    pen.box(-.5, 5.0, reach, 5.16, kPole * 0.8);
    canvas.tracking = true;
  } else {
    pen.box(-.07, 0, .07, y, kPole * 0.8);
  }
  pen.box(-.44, y - 1.02, .44, y + 1.02, {214, 190, 60});
  pen.box(-.39, y - .97, .39, y + .97, {30, 32, 34});
  const char* const states[3] = {"red", "yellow", "green"};
  const Rgb on[3] = {{255, 40, 36}, {255, 200, 30}, {40, 245, 120}};
  const Rgb off[3] = {{66, 22, 22}, {66, 54, 20}, {18, 58, 34}};
  for (int i = 0; i < 3; ++i) {
    const Point c{0, y + .62 - .62 * i};
    const bool lit = o.kind == states[i];
    pen.disc(c, .28, lit ? on[i] : off[i], lit);
    if (!lit) continue;
    pen.disc({c.x - .06, c.y + .07}, .1, mix(on[i], {255, 255, 255}, 0.6), true);
    pen.glow(c, scene.time == "day" ? .7 : 1.2, on[i], scene.time == "day" ? .35 : .7);
  }
}

void draw_traffic_cone(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  const int64_t count = random.integer(2, 3);
  for (int64_t i = 0; i < count; ++i) {
    const double offset =
        count == 2 ? -.4 + .8 * static_cast<double>(i) : -.55 + .55 * static_cast<double>(i);
    Pen pen(canvas, o.x + offset, o.z - .1 * static_cast<double>(i % 2));
    canvas.tracking = false;
    pen.shadow(.34, .2);
    canvas.tracking = true;
    const Rgb orange = paint("orange", random), shade = orange * 0.78;
    auto band = [&](double y0, double y1, const Rgb& light_side, const Rgb& dark_side) {
      auto half = [](double y) { return .05 + .19 * (1.0 - y); };
      pen.polygon({{-half(y0), y0}, {half(y0), y0}, {half(y1), y1}, {-half(y1), y1}}, light_side);
      pen.polygon({{half(y0) * .25, y0}, {half(y0), y0}, {half(y1), y1}, {half(y1) * .25, y1}},
                  dark_side);
    };
    pen.polygon({{-.32, 0}, {.32, 0}, {.3, .08}, {-.3, .08}}, shade);
    band(.06, 1.0, orange, shade);
    band(.3, .48, kWhite, kWhite * 0.8);
    band(.64, .78, kWhite, kWhite * 0.8);
  }
}

void draw_barrier(Canvas& canvas, const Object& o, const Scene& scene, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  canvas.tracking = false;
  pen.shadow(1.25, .3);
  canvas.tracking = true;
  const Rgb colour = paint(o.colour, random);
  if (o.colour == "yellow") {
    // A crowd fence: a frame with upright bars.
    for (int i = 0; i <= 9; ++i)
      pen.limb({-1.1 + i * .244, .22}, {-1.1 + i * .244, 1.02}, .045, colour * 0.9);
    for (const double y : {.22, 1.04}) pen.limb({-1.18, y}, {1.18, y}, .09, colour);
    for (const double x : {-1.18, 1.18}) pen.limb({x, .05}, {x, 1.04}, .09, colour);
    for (const double x : {-.9, .9}) pen.limb({x - .18, .04}, {x + .18, .04}, .08, colour * 0.7);
    return;
  }
  // A board barrier: slanted stripes between two feet.
  for (const double x : {-.95, .95}) {
    pen.box(x - .06, 0, x + .06, 1.1, {90, 90, 94});
    pen.polygon({{x - .26, 0}, {x + .26, 0}, {x + .1, .14}, {x - .1, .14}}, {70, 70, 74});
  }
  for (const auto& [y0, y1] : {std::pair{.68, 1.06}, {.24, .5}}) {
    pen.box(-1.22, y0, 1.22, y1, kWhite);
    for (int i = 0; i < 5; ++i) {
      const double x = -1.22 + i * .5, s = (y1 - y0) * .6;
      pen.polygon({{x, y0}, {x + .25, y0}, {std::min(1.22, x + .25 + s), y1}, {x + s, y1}}, colour);
    }
    pen.box(-1.22, y0, 1.22, y0 + .05, {150, 150, 150});
  }
  if (o.colour == "orange") {
    for (const double x : {-.95, .95}) {
      pen.disc({x, 1.2}, .1, {255, 190, 40}, true);
      pen.glow({x, 1.2}, scene.time == "night" ? .6 : .3, {255, 170, 40}, .5);
    }
  }
}

void draw_bollard(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  const Rgb colour = paint(o.colour, random);
  const Rgb band = o.colour == "black" ? kYellow : o.colour == "white" ? kRed : kBlack;
  for (const double offset : {-.75, 0.0, .75}) {
    Pen pen(canvas, o.x + offset, o.z);
    canvas.tracking = false;
    pen.shadow(.2, .15);
    canvas.tracking = true;
    pen.ellipse({0, .03}, .16, .04, {70, 70, 72});
    pen.box(-.12, .02, .12, 1.0, colour);
    pen.ellipse({0, 1.0}, .12, .09, colour * 1.08);
    pen.box(.04, .02, .12, 1.0, colour * 0.75);
    for (const double y : {.5, .76}) {
      pen.box(-.12, y, .12, y + .14, band);
      pen.box(.04, y, .12, y + .14, band * 0.75);
    }
  }
}

}  // namespace mose::scenes
