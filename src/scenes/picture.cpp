#include "scenes/picture.h"

#include <algorithm>
#include <map>
#include <string>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "scenes/draw.h"

namespace mose::scenes {
namespace {

using Draw = void (*)(Canvas&, const Object&, const Scene&, RandomStream&);

Draw drawer(const std::string& name) {
  static const std::map<std::string, Draw> drawers = {
      {"car", draw_car},
      {"truck", draw_truck},
      {"bus", draw_bus},
      {"construction_vehicle", draw_construction_vehicle},
      {"tricycle", draw_tricycle},
      {"pedestrian", draw_pedestrian},
      {"cyclist", draw_cyclist},
      {"motorcycle", draw_motorcycle},
      {"stroller", draw_stroller},
      {"dog", draw_dog},
      {"traffic_sign", draw_traffic_sign},
      {"traffic_light", draw_traffic_light},
      {"traffic_cone", draw_traffic_cone},
      {"barrier", draw_barrier},
      {"bollard", draw_bollard},
      {"debris", draw_debris},
      {"dustbin", draw_dustbin},
      {"concrete_block", draw_concrete_block},
      {"machinery", draw_machinery},
      {"suitcace", draw_suitcase},
  };
  const auto found = drawers.find(name);
  if (found == drawers.end()) throw Error(str("scenes: nothing draws the class ", name));
  return found->second;
}

}  // namespace

Rgb paint(const std::string& word, RandomStream& random) {
  static const std::map<std::string, Rgb> colours = {
      {"red", {194, 34, 36}},     {"white", {232, 233, 235}},  {"black", {42, 43, 48}},
      {"blue", {38, 82, 176}},    {"silver", {158, 164, 172}}, {"grey", {120, 124, 130}},
      {"yellow", {238, 190, 36}}, {"green", {44, 128, 68}},    {"orange", {240, 112, 26}},
      {"brown", {134, 88, 52}}};
  const auto found = colours.find(word);
  if (found == colours.end()) throw Error(str("scenes: unknown colour word ", word));
  const double k = random.uniform(0.88, 1.08);
  auto vary = [&](double v) { return std::clamp(v * k + random.uniform(-9, 9), 0.0, 255.0); };
  const Rgb c = found->second;
  const double r = vary(c.r), g = vary(c.g), b = vary(c.b);
  return {r, g, b};
}

Picture draw_picture(const Scene& scene, uint64_t seed) {
  Canvas canvas(scene.camera, scene_light(scene));
  RandomStream backdrop(seed, scene.id + "/backdrop");
  draw_backdrop(canvas, scene, backdrop);
  Picture picture;
  for (size_t i = 0; i < scene.objects.size(); ++i) {  // far to near
    const Object& object = scene.objects[i];
    RandomStream random(seed, str(scene.id, "/object", i));
    canvas.begin_box();
    drawer(object.spec->name)(canvas, object, scene, random);
    picture.boxes.push_back(canvas.end_box());
  }
  RandomStream weather(seed, scene.id + "/weather");
  draw_weather(canvas, scene, weather);
  picture.image = canvas.image;
  return picture;
}

}  // namespace mose::scenes
