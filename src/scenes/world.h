// What a scene holds, before it is drawn or worded: sampling, risks, plan and facts.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "mose/core/json.h"
#include "mose/core/random.h"
#include "scenes/camera.h"

namespace mose::scenes {

enum class Place { kLeftRoadside, kLeftLane, kEgoLane, kRightLane, kRightRoadside, kOverhead };
inline constexpr size_t kPlaces = 6;
const char* place_name(Place place);

// How an object behaves, which decides its risk together with where it is.
enum class Behaviour {
  kVehicle,   // moves in a lane, or is parked at the roadside
  kRider,     // moves in a lane, small and vulnerable
  kWalker,    // may cross: pedestrians, strollers, animals
  kObstacle,  // does not move
  kControl    // signs and lights
};

// One of CODA's categories as this world knows it. Metres.
struct ClassSpec {
  const char* name;      // CODA's category name
  const char* category;  // one of coda::kGeneralCategories
  Behaviour behaviour;
  double width, height, length;
  std::array<double, kPlaces> places;  // relative frequency by place
  std::vector<const char*> colours;    // words; {""} when the text names none
};
const std::vector<ClassSpec>& class_specs();

struct Object {
  const ClassSpec* spec = nullptr;
  Place place = Place::kEgoLane;
  double x = 0, z = 0;    // metres right of and ahead of the camera, on the ground
  double yaw = 0;         // radians, of flat figures; 0 shows the full side
  bool mirrored = false;  // a figure that looks the other way
  bool oncoming = false;  // a vehicle seen from the front
  bool hidden = false;    // partly behind a vehicle
  std::string colour;     // a word
  std::string kind;       // sign: speed_limit ...; light: red, yellow, green; else ""
  std::string risk;       // one of the lexicon's risks
  std::string distance;   // near, medium, far
};

struct Scene {
  std::string id;                   // "val_0001"
  std::string weather, time, road;  // lexicon values; road: city_street, country_road, highway
  bool glare = false;               // a low sun ahead
  bool oncoming_left = false;       // the left lane runs the other way, behind a double line
  bool crosswalk = false;
  Camera camera;
  std::vector<Object> objects;    // far to near
  std::vector<std::string> plan;  // lexicon actions, in the order of the suggestion

  const Object* at(Place place) const;
  const Object* of(const std::string& name) const;
  bool slippery() const { return weather == "rain" || weather == "snow"; }
  bool dim() const { return weather == "fog" || time == "night"; }
};

// What a split lacks; see Options in mose/scenes/dataset.h.
struct Rarity {
  double hold_out = 0;  // share of combinations that are held out
  double tail = 0;      // exponent of the classes' frequencies
  bool test = true;     // a split with every combination, all classes alike
};
// Whether a combination is one of the held-out share: by a hash of the three, the same for every seed.
bool held_out(const std::string& name, Place place, const std::string& weather, double share);

// The scene of (seed, id). Width and height in pixels.
Scene sample_scene(uint64_t seed, const std::string& id, int64_t width, int64_t height, const Rarity& rarity = {});

// Fills in every object's risk and the scene's plan.
void assess(Scene& scene);

// Corners of an object's volume on the image, in pixels.
struct Extent {
  double left, top, right, bottom;
  double area() const { return (right - left) * (bottom - top); }
};
Extent nominal_extent(const Object& object, const Camera& camera);

// The facts file: see eval/facts.h. `boxes` are [x, y, w, h] in the order of scene.objects.
// With `hold_out` > 0 every object says whether its combination is held out.
Json scene_facts(const Scene& scene, const std::string& image,
                 const std::vector<std::array<double, 4>>& boxes, double hold_out = 0);

}  // namespace mose::scenes
