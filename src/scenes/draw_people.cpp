// People, what they ride or push, and animals: flat figures built from limbs.
#include <cmath>

#include "scenes/draw.h"

namespace mose::scenes {
namespace {

const Rgb kTyre{30, 30, 32}, kMetal{120, 122, 128}, kShoe{40, 34, 30};

struct Dress {
  Rgb skin, hair, coat, trousers;
};

Dress dress(const std::string& colour, RandomStream& random) {
  const std::vector<Rgb> skins = {{236, 196, 166}, {214, 166, 130}, {150, 104, 76}, {110, 76, 56}};
  const std::vector<Rgb> hairs = {{40, 30, 26}, {92, 62, 38}, {30, 30, 34}, {150, 120, 80}};
  const std::vector<Rgb> trousers = {{44, 52, 84}, {60, 60, 66}, {96, 84, 66}};
  return {random.choice(skins), random.choice(hairs), paint(colour, random),
          random.choice(trousers)};
}

void head(Pen& pen, Point at, const Dress& d, bool helmet) {
  pen.limb({at.x - .01, at.y - .2}, {at.x, at.y - .05}, .1, d.skin * 0.9);
  pen.ellipse(at, .11, .14, d.skin);
  if (helmet) {
    pen.ellipse({at.x - .01, at.y + .06}, .15, .11, mix(d.coat, {245, 245, 245}, 0.65));
    pen.limb({at.x - .13, at.y + .01}, {at.x + .14, at.y + .03}, .04, {40, 40, 44});
  } else {
    pen.ellipse({at.x - .03, at.y + .06}, .11, .09, d.hair);
    pen.ellipse({at.x - .08, at.y}, .05, .1, d.hair);
  }
}

void bike_wheel(Pen& pen, Point at, double r, double tyre) {
  pen.ring(at, r, tyre, kTyre);
  pen.ring(at, r - tyre, .02, {190, 190, 195});
  for (int i = 0; i < 3; ++i) {
    const double t = 0.5 + i * 1.047;
    pen.limb({at.x - r * .85 * std::cos(t), at.y - r * .85 * std::sin(t)},
             {at.x + r * .85 * std::cos(t), at.y + r * .85 * std::sin(t)}, .015, {150, 150, 155});
  }
  pen.disc(at, .05, kMetal);
}

// Someone walking towards +x; `reach` stretches both arms forward.
void walker(Pen& pen, const Dress& d, double height, double step, bool reach) {
  const double k = height / 1.8;
  auto p = [&](double x, double y) { return Point{x * k, y * k}; };
  // Far leg and arm first.
  pen.limb(p(0, .88), p(-.1 * step, .48), .15 * k, d.trousers * 0.8);
  pen.limb(p(-.1 * step, .48), p(-.34 * step, .08), .12 * k, d.trousers * 0.8);
  pen.limb(p(-.36 * step, .05), p(-.22 * step, .04), .09 * k, kShoe);
  if (!reach) {
    pen.limb(p(.02, 1.42), p(.16 * step, 1.12), .1 * k, d.coat * 0.75);
    pen.limb(p(.16 * step, 1.12), p(.3 * step, .95), .08 * k, d.coat * 0.75);
  }
  pen.limb(p(0, .88), p(.18 * step, .5), .16 * k, d.trousers);
  pen.limb(p(.18 * step, .5), p(.26 * step, .08), .13 * k, d.trousers);
  pen.limb(p(.25 * step, .05), p(.42 * step, .05), .09 * k, kShoe);
  pen.polygon({p(-.2, .82), p(.2, .82), p(.22, 1.3), p(.15, 1.5), p(-.15, 1.5), p(-.23, 1.3)},
              d.coat);
  pen.polygon({p(-.2, .82), p(-.07, .82), p(-.1, 1.46), p(-.16, 1.49), p(-.23, 1.3)},
              d.coat * 0.85);
  if (reach) {
    pen.limb(p(.04, 1.4), p(.3, 1.12), .11 * k, d.coat * 0.85);
    pen.limb(p(.3, 1.12), p(.55, 1.05), .09 * k, d.coat * 0.85);
    pen.disc(p(.57, 1.05), .05 * k, d.skin);
  } else {
    pen.limb(p(-.02, 1.42), p(-.18 * step, 1.12), .11 * k, d.coat * 0.9);
    pen.limb(p(-.18 * step, 1.12), p(-.2 * step, .9), .09 * k, d.coat * 0.9);
    pen.disc(p(-.2 * step, .86), .05 * k, d.skin);
  }
  head(pen, p(.02, 1.69), d, false);
}

void ground_shadow(Canvas& canvas, Pen& pen, double rx) {
  canvas.tracking = false;
  pen.shadow(rx, .35);
  canvas.tracking = true;
}

// A rider's body leaning from the saddle to the handlebar.
void rider(Pen& pen, const Dress& d, Point saddle, Point bar, Point pedal, bool helmet) {
  const Point shoulder{saddle.x + .55 * (bar.x - saddle.x), saddle.y + .58};
  const Point knee{0.5 * (saddle.x + pedal.x) + .22, 0.5 * (saddle.y + pedal.y) + .08};
  pen.limb(saddle, knee, .17, d.trousers);
  pen.limb(knee, pedal, .13, d.trousers * 0.9);
  pen.limb(pedal, {pedal.x + .14, pedal.y - .02}, .09, kShoe);
  pen.limb({saddle.x, saddle.y + .06}, shoulder, .32, d.coat);
  pen.limb({saddle.x - .05, saddle.y + .06}, {shoulder.x - .09, shoulder.y}, .14, d.coat * 0.85);
  const Point elbow{0.5 * (shoulder.x + bar.x) + .02, 0.5 * (shoulder.y + bar.y) - .08};
  pen.limb(shoulder, elbow, .12, d.coat * 0.9);
  pen.limb(elbow, bar, .09, d.coat * 0.9);
  pen.disc(bar, .055, d.skin);
  head(pen, {shoulder.x + .1, shoulder.y + .28}, d, helmet);
}

}  // namespace

void draw_pedestrian(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, 0, o.mirrored);
  ground_shadow(canvas, pen, .4);
  const Dress d = dress(o.colour, random);
  const double height = random.uniform(1.7, 1.9), step = random.uniform(0.75, 1.1);
  walker(pen, d, height, step, false);
  if (random.chance(0.35)) {  // a bag
    pen.box(-.3, .72, -.08, .98, {120, 70, 40});
  }
}

void draw_cyclist(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, o.yaw, o.mirrored);
  ground_shadow(canvas, pen, .7);
  const Dress d = dress(o.colour, random);
  const Rgb frame = paint(random.choice<std::string>({"red", "blue", "green", "black"}), random);
  const Point rear{-.55, .36}, front{.55, .36}, crank{-.08, .34}, saddle{-.25, .95}, neck{.38, .95};
  bike_wheel(pen, rear, .36, .06);
  bike_wheel(pen, front, .36, .06);
  for (const auto& [a, b] : {std::pair{rear, crank},
                             {crank, saddle},
                             {rear, saddle},
                             {crank, neck},
                             {Point{-.22, .82}, Point{.36, .82}},
                             {neck, front}}) {
    pen.limb(a, b, .05, frame);
  }
  pen.limb({-.36, .97}, {-.14, .97}, .08, {30, 30, 30});
  pen.limb(neck, {.42, 1.08}, .05, kMetal);
  pen.limb({.42, 1.08}, {.3, 1.1}, .05, {30, 30, 30});
  rider(pen, d, {-.24, 1.02}, {.33, 1.1}, {.02, .24}, random.chance(0.6));
}

void draw_motorcycle(Canvas& canvas, const Object& o, const Scene& scene, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, o.yaw, o.mirrored);
  ground_shadow(canvas, pen, .8);
  const Dress d = dress(o.colour, random);
  const Rgb body = paint(random.choice<std::string>({"red", "blue", "black", "yellow"}), random);
  for (const double x : {-.68, .68}) {
    pen.disc({x, .32}, .32, kTyre);
    pen.disc({x, .32}, .17, {140, 140, 146});
    pen.disc({x, .32}, .05, {50, 50, 54});
  }
  pen.polygon({{-.3, .25}, {.3, .25}, {.34, .55}, {-.34, .6}}, {84, 86, 92});  // engine
  pen.limb({-.75, .34}, {.05, .3}, .1, {170, 172, 176});                       // exhaust
  pen.polygon({{-.95, .85}, {-.3, .62}, {.2, .62}, {.42, .85}, {.3, 1.0}, {-.05, .85}, {-.6, .9}},
              body);
  pen.limb({-.6, .9}, {-.1, .84}, .1, {28, 28, 30});                           // seat
  pen.limb({.68, .32}, {.42, 1.0}, .08, kMetal);                               // fork
  pen.polygon({{.38, .62}, {.62, .7}, {.56, 1.05}, {.4, 1.15}}, body * 1.05);  // fairing
  pen.polygon({{.42, 1.1}, {.56, 1.05}, {.44, 1.34}}, {150, 180, 200});
  pen.limb({.3, 1.08}, {.44, 1.06}, .05, {28, 28, 30});
  const bool lit = scene.time != "day";
  pen.disc({.6, .86}, .08, lit ? Rgb{255, 245, 210} : Rgb{225, 225, 230}, lit);
  pen.box(-1.0, .78, -.92, .88, {220, 30, 30}, lit);
  if (lit) pen.glow({-.96, .83}, .4, {255, 60, 40}, 0.6);
  rider(pen, d, {-.28, .98}, {.32, 1.08}, {.05, .34}, false);
  // A full helmet over the head.
  const Point shoulder{-.28 + .55 * .6, .98 + .58};
  const Rgb helmet = paint(random.choice<std::string>({"white", "red", "black"}), random);
  pen.disc({shoulder.x + .1, shoulder.y + .27}, .17, helmet);
  pen.polygon({{shoulder.x + .14, shoulder.y + .2},
               {shoulder.x + .27, shoulder.y + .22},
               {shoulder.x + .26, shoulder.y + .32},
               {shoulder.x + .13, shoulder.y + .34}},
              {30, 34, 40});
}

void draw_stroller(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, 0, o.mirrored);
  ground_shadow(canvas, pen, .8);
  const Dress d = dress(random.choice<std::string>({"white", "green", "black", "yellow"}), random);
  Pen parent(canvas, o.x + (o.mirrored ? .5 : -.5), o.z, 0, o.mirrored);
  walker(parent, d, random.uniform(1.7, 1.82), 0.85, true);
  const Rgb cloth = paint(o.colour, random);
  pen.limb({.05, 1.06}, {.4, .55}, .05, kMetal);
  pen.limb({.3, .6}, {.78, .2}, .05, kMetal);
  pen.limb({.7, .6}, {.26, .2}, .05, kMetal);
  for (const double x : {.24, .8}) {
    pen.disc({x, .15}, .15, kTyre);
    pen.disc({x, .15}, .07, {180, 180, 184});
  }
  pen.polygon({{.2, .78}, {.88, .78}, {.82, .52}, {.68, .42}, {.36, .42}, {.24, .55}}, cloth);
  pen.polygon({{.24, .5}, {.36, .42}, {.68, .42}, {.8, .5}}, cloth * 0.75);
  // The hood: a quarter disc in two tones.
  std::vector<Point> hood = {{.5, .78}}, rim = {{.5, .78}};
  for (int i = 0; i <= 8; ++i) {
    const double t = 1.2 + i * (3.14159 - 1.2) / 8;
    hood.push_back({.5 + .4 * std::cos(t), .78 + .4 * std::sin(t)});
    if (i <= 4) rim.push_back(hood.back());
  }
  pen.polygon(hood, cloth * 0.85);
  pen.polygon(rim, cloth * 1.1);
  pen.disc({.68, .85}, .09, d.skin);  // the child
  pen.ellipse({.67, .92}, .07, .04, d.hair);
}

void draw_dog(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, 0, o.mirrored);
  ground_shadow(canvas, pen, .5);
  const Rgb coat = paint(o.colour, random), dark = coat * 0.72;
  const double s = random.uniform(0.7, 1.1);
  pen.limb({-.3, .5}, {-.42 * s, .25}, .11, dark);  // far legs
  pen.limb({-.42 * s, .25}, {-.34 * s, .04}, .08, dark);
  pen.limb({.28, .48}, {.18, .25}, .1, dark);
  pen.limb({.18, .25}, {.2, .04}, .08, dark);
  pen.ellipse({0, .55}, .43, .17, coat, 0.04);
  pen.ellipse({.25, .58}, .19, .2, coat);
  pen.ellipse({-.02, .47}, .3, .07, dark);
  pen.limb({-.32, .52}, {-.26, .27}, .14, coat);  // near legs
  pen.limb({-.26, .27}, {-.36, .04}, .09, coat);
  pen.limb({-.36, .035}, {-.29, .035}, .07, coat);
  pen.limb({.3, .48}, {.36 * s, .25}, .12, coat);
  pen.limb({.36 * s, .25}, {.36 * s, .04}, .08, coat);
  pen.limb({.36 * s, .035}, {.43 * s, .035}, .07, coat);
  pen.limb({-.4, .62}, {-.55, .78}, .08, coat);  // tail
  pen.limb({-.55, .78}, {-.57, .88}, .06, coat);
  pen.limb({.3, .64}, {.46, .82}, .2, coat);  // neck
  pen.ellipse({.5, .84}, .15, .12, coat);
  pen.limb({.54, .81}, {.68, .79}, .12, coat * 1.1);  // muzzle
  pen.disc({.73, .81}, .035, {20, 18, 18});
  pen.disc({.56, .88}, .02, {20, 18, 18});
  pen.limb({.42, .93}, {.38, .76}, .09, dark);           // ear
  pen.limb({.36, .68}, {.44, .66}, .06, {200, 40, 40});  // collar
}

void draw_tricycle(Canvas& canvas, const Object& o, const Scene&, RandomStream& random) {
  Pen pen(canvas, o.x, o.z, o.yaw, o.mirrored);
  ground_shadow(canvas, pen, 1.1);
  const Rgb body = paint(o.colour, random);
  const Dress d = dress(random.choice<std::string>({"white", "black", "yellow"}), random);
  // A cargo tricycle: an open load box over two wheels behind, the driver before it.
  pen.box(-1.2, .5, -.05, .58, {50, 50, 54});
  pen.box(-1.25, .58, -.1, 1.0, body);
  for (int i = 0; i < 4; ++i) pen.box(-1.2 + i * .28, .64, -1.16 + i * .28, .95, body * 0.7);
  pen.box(-1.25, .96, -.1, 1.03, body * 1.15);
  pen.box(-1.1, 1.03, -.65, 1.42, {186, 142, 92});  // boxes as load
  pen.box(-.62, 1.03, -.22, 1.3, {160, 120, 76});
  pen.box(-.9, 1.03, -.84, 1.42, {214, 186, 140});
  pen.disc({-.75, .33}, .33, kTyre);
  pen.disc({-.75, .33}, .18, {150, 150, 155});
  pen.polygon({{-.1, .5}, {.55, .45}, {.55, .55}, {-.1, .6}}, {60, 60, 64});
  pen.disc({.95, .3}, .3, kTyre);
  pen.disc({.95, .3}, .15, {150, 150, 155});
  pen.limb({.95, .3}, {.72, 1.05}, .07, kMetal);
  pen.polygon({{.68, .55}, {1.15, .62}, {1.1, .7}, {.84, .76}, {.78, 1.0}, {.66, 1.0}}, body);
  pen.limb({.6, 1.08}, {.74, 1.08}, .05, {30, 30, 30});
  pen.box(-.05, .6, .3, .74, {40, 40, 44});  // seat
  rider(pen, d, {.12, .8}, {.6, 1.06}, {.5, .52}, false);
}

}  // namespace mose::scenes
