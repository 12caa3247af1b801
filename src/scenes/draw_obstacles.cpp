// Machines and rare objects in the way.
#include <cmath>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

const Rgb kTyre{30, 30, 32}, kGlass{70, 96, 112}, kSteel{104, 106, 110};

void shadow(Canvas& canvas, Pen& pen, double rx, double rz) {
  canvas.tracking = false;
  pen.shadow(rx, rz);
  canvas.tracking = true;
}

// A box with its near face, top and visible side.
void solid(Pen& pen, double x0, double x1, double y0, double y1, double depth, const Rgb& colour) {
  pen.surface({{x0, y1, 0}, {x1, y1, 0}, {x1, y1, depth}, {x0, y1, depth}}, colour * 1.15);
  const double edge = pen.x() > 0 ? x0 : x1;
  pen.surface({{edge, y0, 0}, {edge, y1, 0}, {edge, y1, depth}, {edge, y0, depth}}, colour * 0.7);
  pen.surface({{x0, y0, 0}, {x1, y0, 0}, {x1, y1, 0}, {x0, y1, 0}}, colour);
}

}  // namespace

void draw_construction_vehicle(Canvas& canvas, const Object& o, const Scene&,
                               RandomStream& random) {
  Pen pen(canvas, o.x, o.z, 0.25, o.mirrored);
  shadow(canvas, pen, 1.7, .8);
  const Rgb body = paint(o.colour, random);
  // Tracks with rollers.
  pen.limb({-1.25, .33}, {.55, .33}, .62, kTyre);
  pen.limb({-1.25, .33}, {.55, .33}, .4, {74, 74, 78});
  for (int i = 0; i < 5; ++i) pen.disc({-1.25 + i * .45, .33}, .15, {44, 44, 48});
  pen.box(-.9, .66, .3, .8, {60, 60, 64});
  // House, counterweight, cab.
  pen.polygon({{-1.55, .8}, {.5, .8}, {.5, 1.35}, {-.2, 1.5}, {-1.45, 1.5}, {-1.6, 1.3}}, body);
  pen.polygon({{-1.55, .8}, {.5, .8}, {.5, .98}, {-1.58, .98}}, body * 0.75);
  for (int i = 0; i < 4; ++i) pen.box(-1.35 + i * .16, 1.1, -1.28 + i * .16, 1.4, body * 0.55);
  pen.polygon({{-.45, 1.35}, {.55, 1.35}, {.5, 2.1}, {.32, 2.42}, {-.4, 2.42}}, body * 0.9);
  pen.polygon({{-.34, 1.45}, {.44, 1.45}, {.4, 2.05}, {.25, 2.3}, {-.3, 2.3}}, kGlass);
  pen.polygon({{.06, 1.45}, {.12, 1.45}, {.12, 2.3}, {.06, 2.3}}, body * 0.8);
  // Boom, stick and bucket.
  pen.limb({.45, 1.2}, {1.1, 2.65}, .32, body);
  pen.limb({.5, 1.3}, {.95, 2.1}, .1, kSteel);
  pen.limb({1.05, 2.65}, {1.75, 1.45}, .24, body * 0.92);
  pen.limb({1.2, 2.75}, {1.7, 1.8}, .07, kSteel);
  pen.polygon(
      {{1.55, 1.5}, {1.95, 1.4}, {1.98, .95}, {1.8, .72}, {1.42, .78}, {1.35, .95}, {1.66, 1.1}},
      {88, 84, 78});
  for (int i = 0; i < 3; ++i)
    pen.polygon({{1.34 + i * .1, .95 - i * .05},
                 {1.42 + i * .1, .92 - i * .05},
                 {1.3 + i * .1, .8 - i * .05}},
                {150, 146, 140});
}

void draw_debris(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  shadow(canvas, pen, 1.0, .4);
  const std::vector<Rgb> woods = {{158, 116, 70}, {132, 94, 58}, {186, 146, 98}};
  // Broken planks across each other, a torn box, rubble and a strip of tyre.
  pen.polygon({{-.35, 0}, {.2, 0}, {.24, .5}, {.0, .62}, {-.3, .52}}, {190, 150, 100});
  pen.polygon({{.2, 0}, {.42, .08}, {.44, .46}, {.24, .5}}, {150, 114, 72});
  pen.polygon({{-.3, .52}, {-.05, .58}, {-.16, .76}, {-.42, .68}}, {206, 168, 118});
  pen.polygon({{.0, .6}, {.24, .5}, {.4, .66}, {.16, .74}}, {206, 168, 118});
  for (int i = 0; i < 6; ++i) {
    const double x = random.uniform(-.7, .7), y = random.uniform(.06, .3),
                 t = random.uniform(-.7, .7);
    const double l = random.uniform(.35, .6);
    const Rgb wood = random.choice(woods);
    pen.limb({x - l * std::cos(t), std::max(.05, y - l * std::sin(t))},
             {x + l * std::cos(t), std::max(.05, y + l * std::sin(t))}, .1, wood);
    pen.limb({x - l * std::cos(t), std::max(.03, y - .03 - l * std::sin(t))},
             {x + l * std::cos(t), std::max(.03, y - .03 + l * std::sin(t))}, .03, wood * 0.6);
  }
  for (int i = 0; i < 7; ++i) {
    const double x = random.uniform(-.95, .95), r = random.uniform(.06, .15);
    pen.polygon({{x - r, 0}, {x + r, 0}, {x + .8 * r, r}, {x, 1.5 * r}, {x - .9 * r, .9 * r}},
                Rgb{128, 124, 118} * random.uniform(.7, 1.1));
  }
  pen.limb({.5, .08}, {.95, .16}, .16, kTyre);
}

void draw_dustbin(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  shadow(canvas, pen, .5, .35);
  const Rgb body = paint(o.colour, random);
  for (const double x : {-.26, .26}) pen.disc({x, .09}, .1, kTyre);
  const double edge = o.x > 0 ? -1 : 1;
  pen.surface(
      {{edge * .3, .08, 0}, {edge * .38, 1.08, 0}, {edge * .38, 1.08, .6}, {edge * .3, .08, .6}},
      body * 0.7);
  pen.polygon({{-.3, .08}, {.3, .08}, {.38, 1.08}, {-.38, 1.08}}, body);
  for (const double x : {-.16, .16})
    pen.polygon({{x - .03, .16}, {x + .03, .16}, {x * 1.2 + .03, .98}, {x * 1.2 - .03, .98}},
                body * 0.8);
  pen.polygon({{-.42, 1.06}, {.42, 1.06}, {.4, 1.2}, {-.4, 1.2}}, body * 0.85);
  pen.polygon({{-.4, 1.2}, {.4, 1.2}, {.28, 1.28}, {-.28, 1.28}}, body * 1.1);
  pen.limb({-.2, 1.13}, {.2, 1.13}, .04, {40, 40, 44});
  // The recycling mark: three arrows around.
  for (int i = 0; i < 3; ++i) {
    const double t = 1.57 + i * 2.094;
    pen.limb({.15 * std::cos(t), .6 + .15 * std::sin(t)},
             {.15 * std::cos(t + 1.3), .6 + .15 * std::sin(t + 1.3)}, .055, {235, 240, 235});
  }
}

void draw_concrete_block(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  shadow(canvas, pen, .95, .5);
  const Rgb grey = Rgb{172, 170, 164} * random.uniform(0.9, 1.08);
  solid(pen, -.85, .85, 0, .92, .9, grey);
  pen.surface({{-.85, 0, -.01}, {.85, 0, -.01}, {.85, .1, -.01}, {-.85, .1, -.01}}, grey * 0.72);
  for (int i = 0; i < 14; ++i) {  // pores
    const double x = random.uniform(-.75, .75), y = random.uniform(.15, .82);
    pen.disc({x, y}, random.uniform(.015, .035), grey * 0.72);
  }
  for (const double x : {-.45, .45}) {  // lifting loops
    pen.limb({x - .09, .92}, {x - .09, 1.04}, .04, kSteel * 0.7);
    pen.limb({x + .09, .92}, {x + .09, 1.04}, .04, kSteel * 0.7);
    pen.limb({x - .09, 1.04}, {x + .09, 1.04}, .04, kSteel * 0.7);
  }
  pen.limb({-.2, .9}, {-.1, .62}, .02, grey * 0.55);  // a crack
  pen.limb({-.1, .62}, {-.22, .4}, .02, grey * 0.55);
}

void draw_machinery(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, 0, o.mirrored);
  shadow(canvas, pen, .95, .4);
  const Rgb body = paint(o.colour, random);
  // A concrete mixer: a tilted drum on a wheeled frame with a motor.
  pen.limb({-.6, .3}, {.55, .62}, .09, kSteel);
  pen.limb({.55, .05}, {.55, .95}, .09, kSteel);
  pen.limb({.4, .05}, {.72, .05}, .09, kSteel);
  pen.limb({-.55, .3}, {-.2, .95}, .09, kSteel);
  pen.limb({.55, .9}, {.2, .95}, .09, kSteel);
  pen.disc({-.55, .27}, .27, kTyre);
  pen.disc({-.55, .27}, .14, {200, 200, 204});
  pen.box(-.95, .55, -.5, .95, {70, 72, 78});
  for (int i = 0; i < 3; ++i) pen.box(-.9, .62 + i * .1, -.56, .66 + i * .1, {30, 30, 34});
  const double t = 0.65, c = std::cos(t), s = std::sin(t);
  auto q = [&](double x, double y) { return Point{.02 + x * c - y * s, 1.02 + x * s + y * c}; };
  pen.polygon({q(-.5, -.3), q(-.05, -.5), q(.2, -.5), q(.62, -.27), q(.62, .27), q(.2, .5),
               q(-.05, .5), q(-.5, .3)},
              body);
  pen.polygon({q(-.5, -.3), q(-.05, -.5), q(.2, -.5), q(.62, -.27), q(.62, -.05), q(-.5, -.08)},
              body * 0.75);
  pen.polygon({q(-.05, -.52), q(.18, -.52), q(.18, .52), q(-.05, .52)}, {54, 54, 58});
  pen.ellipse(q(.63, 0), .09, .29, {30, 30, 32}, t);
}

void draw_suitcase(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z);
  shadow(canvas, pen, .45, .25);
  const Rgb body = paint(o.colour, random);
  for (const double x : {-.24, .24}) pen.disc({x, .06}, .065, kTyre);
  for (const double x : {-.15, .15}) pen.limb({x, .8}, {x, 1.12}, .035, kSteel);
  pen.limb({-.16, 1.13}, {.16, 1.13}, .06, {36, 36, 40});
  const double edge = o.x > 0 ? -1 : 1;
  pen.surface(
      {{edge * .36, .12, 0}, {edge * .36, .86, 0}, {edge * .36, .86, .28}, {edge * .36, .12, .28}},
      body * 0.65);
  pen.polygon({{-.33, .08},
               {.33, .08},
               {.37, .14},
               {.37, .84},
               {.33, .9},
               {-.33, .9},
               {-.37, .84},
               {-.37, .14}},
              body);
  for (int i = 0; i < 4; ++i) pen.box(-.25 + i * .15, .16, -.2 + i * .15, .82, body * 0.78);
  for (const double x : {-.33, .28}) pen.box(x, .72, x + .05, .84, {210, 206, 190});
  pen.limb({-.1, .93}, {.1, .93}, .05, {36, 36, 40});
}

}  // namespace mose::scenes
