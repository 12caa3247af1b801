#include "scenes/world.h"

#include <algorithm>
#include <cmath>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::scenes {
namespace {

using enum Behaviour;

constexpr std::array<double, kPlaces> kAnywhere = {1, 1, 1.1, 1, 1, 0};
constexpr std::array<double, kPlaces> kMostlyBeside = {1.3, 0.8, 0.9, 0.8, 1.3, 0};
constexpr std::array<double, kPlaces> kPosts = {1, 0, 0, 0, 1, 1};

const std::vector<const char*> kPaint = {"red", "white", "black", "blue", "silver", "yellow"};
const std::vector<const char*> kCoats = {"red", "blue", "yellow", "green", "black", "white"};

// A figure that stands close to its neighbours' lane would be ambiguous, so objects keep to the
// middle of their place.
double place_centre(Place place) {
  switch (place) {
    case Place::kLeftRoadside:
      return -kRoadside;
    case Place::kLeftLane:
      return -kLaneWidth;
    case Place::kRightLane:
      return kLaneWidth;
    case Place::kRightRoadside:
      return kRoadside;
    default:
      return 0;
  }
}

// The nearest and farthest depth at which the object lies inside the picture and is large enough.
std::pair<double, double> depth_range(const Object& object, const Camera& camera) {
  const ClassSpec& spec = *object.spec;
  const double unit = camera.width / 640;
  const double size = std::sqrt(std::min(spec.width, 1.6 * spec.height) * spec.height);
  const double room = std::min(camera.centre, camera.width - camera.centre) - 5 * unit;
  double low = std::max(6.0, (std::abs(object.x) + 0.5 * spec.width) * camera.focal / room);
  double high = std::min(17.0, size * camera.focal / (46 * unit));
  if (object.place == Place::kOverhead) {
    // High enough above the road that its upper edge is still in the picture.
    low = object.kind == "direction" ? 16.0 : 13.8;
    high = low + 2.5;
  }
  return {low, std::max(high, low + 1.0)};
}

double overlap(const Extent& a, const Extent& b) {
  const double w = std::min(a.right, b.right) - std::max(a.left, b.left);
  const double h = std::min(a.bottom, b.bottom) - std::max(a.top, b.top);
  return w > 0 && h > 0 ? w * h : 0;
}

// The share of the farther object that the nearer one covers.
double covered(const Object& a, const Object& b, const Camera& camera) {
  const Extent ea = nominal_extent(a, camera), eb = nominal_extent(b, camera);
  return overlap(ea, eb) / (a.z > b.z ? ea : eb).area();
}

std::string pick_kind(const Object& object, RandomStream& random) {
  const std::string name = object.spec->name;
  if (name == "traffic_light") return random.choice<std::string>({"red", "red", "yellow", "green"});
  if (name != "traffic_sign") return "";
  if (object.place == Place::kOverhead) return "direction";
  return random.choice<std::string>({"speed_limit", "stop", "crossing", "road_work"});
}

void place_object(Object& object, const Camera& camera, RandomStream& random) {
  const bool overhead = object.place == Place::kOverhead;
  object.x = place_centre(object.place) + random.uniform(-0.3, 0.3) * (overhead ? 6 : 1);
  const auto [low, high] = depth_range(object, camera);
  object.z = random.uniform(low, high);
}

Object make_object(const ClassSpec& spec, Place place, const Scene& scene, RandomStream& random) {
  Object object;
  object.spec = &spec;
  object.place = place;
  object.colour = spec.colours[static_cast<size_t>(
      random.integer(0, static_cast<int64_t>(spec.colours.size()) - 1))];
  object.kind = pick_kind(object, random);
  object.mirrored = random.chance(0.5);
  const bool left = place == Place::kLeftLane || place == Place::kLeftRoadside;
  object.oncoming = left && scene.oncoming_left;
  // Riders follow the road, so their side is seen at an angle; walkers go across it.
  if (spec.behaviour == kRider) object.yaw = random.uniform(0.5, 0.85);
  place_object(object, scene.camera, random);
  return object;
}

bool allowed(const ClassSpec& spec, Place place, const Scene& scene, const Rarity& rarity) {
  return rarity.test || !held_out(spec.name, place, scene.weather, rarity.hold_out);
}

const ClassSpec& draw_class(const Rarity& rarity, RandomStream& random) {
  const std::vector<ClassSpec>& specs = class_specs();
  if (rarity.test || rarity.tail <= 0) {
    return specs[static_cast<size_t>(random.integer(0, static_cast<int64_t>(specs.size()) - 1))];
  }
  std::vector<double> weights;
  for (size_t k = 1; k <= specs.size(); ++k) weights.push_back(std::pow(static_cast<double>(k), -rarity.tail));
  return specs[random.weighted(weights)];
}

// Adds one object where it hides nothing and is not hidden; false when there is no such place.
bool add_object(Scene& scene, const Rarity& rarity, RandomStream& random) {
  const ClassSpec& spec = draw_class(rarity, random);
  if (scene.of(spec.name)) return false;
  std::vector<double> weights(spec.places.begin(), spec.places.end());
  double sum = 0;
  for (size_t i = 0; i < kPlaces; ++i) {
    const auto place = static_cast<Place>(i);
    if (scene.at(place) || !allowed(spec, place, scene, rarity)) weights[i] = 0;
    sum += weights[i];
  }
  if (sum <= 0) return false;
  Object object = make_object(spec, static_cast<Place>(random.weighted(weights)), scene, random);
  for (int attempt = 0; attempt < 8; ++attempt) {
    const bool free = std::all_of(scene.objects.begin(), scene.objects.end(), [&](const Object& o) {
      return covered(object, o, scene.camera) < 0.1;
    });
    if (free) {
      scene.objects.push_back(object);
      return true;
    }
    place_object(object, scene.camera, random);
  }
  return false;
}

// Someone at the roadside steps out from behind a vehicle in the lane beside it.
void add_hidden_walker(Scene& scene, const Rarity& rarity, RandomStream& random) {
  const bool left = random.chance(0.5);
  const Place lane = left ? Place::kLeftLane : Place::kRightLane;
  const Place side = left ? Place::kLeftRoadside : Place::kRightRoadside;
  const std::vector<ClassSpec>& specs = class_specs();
  auto named = [&](const std::string& name) -> const ClassSpec& {
    return *std::find_if(specs.begin(), specs.end(),
                         [&](const ClassSpec& s) { return name == s.name; });
  };
  const std::string vehicle = random.choice<std::string>({"car", "truck", "bus"});
  const std::string walker = random.chance(0.6) ? "pedestrian" : "dog";
  if (!allowed(named(vehicle), lane, scene, rarity) || !allowed(named(walker), side, scene, rarity)) return;
  Object front = make_object(named(vehicle), lane, scene, random);
  Object behind = make_object(named(walker), side, scene, random);
  behind.hidden = true;
  behind.mirrored = left;  // its head is on the visible side
  for (int attempt = 0; attempt < 200; ++attempt) {
    const double share = covered(behind, front, scene.camera);
    if (behind.z > front.z + 0.5 && share > 0.2 && share < 0.4) {
      scene.objects.push_back(front);
      scene.objects.push_back(behind);
      return;
    }
    place_object(behind, scene.camera, random);
    place_object(front, scene.camera, random);
  }
}

}  // namespace

const char* place_name(Place place) {
  constexpr const char* kNames[kPlaces] = {"left_roadside", "left_lane",      "ego_lane",
                                           "right_lane",    "right_roadside", "overhead"};
  return kNames[static_cast<size_t>(place)];
}

const std::vector<ClassSpec>& class_specs() {
  // The names are CODA2022's, "suitcace" included.
  // Small things are a little larger than life, so that they stay visible in a small picture.
  static const std::vector<ClassSpec> specs = {
      {"car", "vehicles", kVehicle, 1.85, 1.5, 4.2, kAnywhere, kPaint},
      {"truck", "vehicles", kVehicle, 2.4, 3.2, 6.0, kAnywhere, {"white", "blue", "red", "green"}},
      {"bus", "vehicles", kVehicle, 2.5, 3.1, 9.0, kAnywhere, {"yellow", "blue", "red", "green"}},
      {"construction_vehicle", "vehicles", kObstacle, 3.6, 2.9, 1, kAnywhere, {"yellow", "orange"}},
      {"tricycle", "vehicles", kRider, 2.5, 1.75, 0.6, kAnywhere, {"blue", "red", "green"}},
      {"pedestrian", "vulnerable_road_users", kWalker, 0.9, 1.85, 0.4, kAnywhere, kCoats},
      {"cyclist", "vulnerable_road_users", kRider, 1.8, 1.85, 0.5, kAnywhere, kCoats},
      {"motorcycle", "vulnerable_road_users", kRider, 2.0, 1.65, 0.5, kAnywhere, kCoats},
      {"stroller",
       "vulnerable_road_users",
       kWalker,
       1.7,
       1.8,
       0.5,
       kAnywhere,
       {"red", "blue", "green"}},
      {"traffic_sign", "traffic_signs", kControl, 1.2, 3.3, 0.1, kPosts, {""}},
      {"traffic_light", "traffic_lights", kControl, 0.8, 3.9, 0.3, kPosts, {""}},
      {"traffic_cone", "traffic_cones", kObstacle, 1.6, 1.0, 0.6, kAnywhere, {"orange"}},
      {"barrier", "barriers", kObstacle, 2.5, 1.1, 0.3, kAnywhere, {"red", "orange", "yellow"}},
      {"bollard",
       "barriers",
       kObstacle,
       1.9,
       1.1,
       0.3,
       kMostlyBeside,
       {"yellow", "white", "black"}},
      {"dog", "other_objects", kWalker, 1.3, 0.95, 0.3, kAnywhere, {"brown", "black", "white"}},
      {"debris", "other_objects", kObstacle, 1.9, 0.7, 0.8, kAnywhere, {"brown"}},
      {"dustbin",
       "other_objects",
       kObstacle,
       0.8,
       1.25,
       0.7,
       kMostlyBeside,
       {"green", "blue", "grey"}},
      {"concrete_block", "other_objects", kObstacle, 1.7, 0.95, 0.9, kAnywhere, {"grey"}},
      {"machinery", "other_objects", kObstacle, 1.8, 1.7, 0.8, kAnywhere, {"orange", "blue"}},
      {"suitcace",
       "other_objects",
       kObstacle,
       0.75,
       1.15,
       0.3,
       kAnywhere,
       {"red", "blue", "brown"}},
  };
  return specs;
}

const Object* Scene::at(Place place) const {
  for (const Object& object : objects) {
    if (object.place == place) return &object;
  }
  return nullptr;
}

const Object* Scene::of(const std::string& name) const {
  for (const Object& object : objects) {
    if (name == object.spec->name) return &object;
  }
  return nullptr;
}

Extent nominal_extent(const Object& object, const Camera& camera) {
  const ClassSpec& spec = *object.spec;
  // A flat figure turned by yaw is narrower and reaches deeper.
  const double half = 0.5 * spec.width * std::cos(object.yaw);
  const bool overhead = object.place == Place::kOverhead;
  const double low = overhead ? 3.6 : 0, high = overhead ? 5.8 : spec.height;
  const double wide = overhead && object.kind == "direction" ? 2.2 : half;
  Extent extent{1e9, 1e9, -1e9, -1e9};
  for (const double z : {object.z, object.z + spec.length}) {
    for (const double x : {object.x - wide, object.x + wide}) {
      for (const double y : {low, high}) {
        const Pixel p = camera.project(x, y, z);
        extent.left = std::min(extent.left, p.u);
        extent.right = std::max(extent.right, p.u);
        extent.top = std::min(extent.top, p.v);
        extent.bottom = std::max(extent.bottom, p.v);
      }
    }
  }
  return extent;
}

bool held_out(const std::string& name, Place place, const std::string& weather, double share) {
  return RandomStream(0, str("held out/", name, "/", place_name(place), "/", weather)).uniform() < share;
}

Scene sample_scene(uint64_t seed, const std::string& id, int64_t width, int64_t height, const Rarity& rarity) {
  RandomStream random(seed, id);
  Scene scene;
  scene.id = id;
  const std::vector<std::string> weather = {"clear", "rain", "fog", "snow"};
  const std::vector<std::string> times = {"day", "dusk", "night"};
  scene.weather = weather[random.weighted({0.34, 0.24, 0.22, 0.2})];
  scene.time = times[random.weighted({0.4, 0.28, 0.32})];
  scene.road = random.choice<std::string>({"city_street", "country_road", "highway"});
  scene.oncoming_left =
      scene.road == "country_road" || (scene.road == "city_street" && random.chance(0.4));
  scene.glare = scene.weather == "clear" && scene.time != "night" && random.chance(0.3);

  Camera& camera = scene.camera;
  const double unit = static_cast<double>(width) / 640;
  camera.width = static_cast<double>(width);
  camera.height = static_cast<double>(height);
  camera.focal = 430 * unit;
  camera.centre = camera.width / 2 + random.uniform(-18, 18) * unit;
  camera.horizon = camera.height * random.uniform(0.4, 0.45);

  const int64_t count = 2 + static_cast<int64_t>(random.weighted({0.2, 0.34, 0.3, 0.16}));
  if (random.chance(0.13)) add_hidden_walker(scene, rarity, random);
  for (int attempt = 0; attempt < 200 && static_cast<int64_t>(scene.objects.size()) < count;
       ++attempt) {
    add_object(scene, rarity, random);
  }
  if (scene.objects.size() < 2) throw Error(str("scene ", id, ": no room for two objects"));
  std::stable_sort(scene.objects.begin(), scene.objects.end(),
                   [](const Object& a, const Object& b) { return a.z > b.z; });
  for (Object& object : scene.objects) {
    object.distance = object.z < 9 ? "near" : object.z < 13 ? "medium" : "far";
  }
  const bool control = scene.of("traffic_light") != nullptr || scene.of("pedestrian") != nullptr;
  scene.crosswalk = scene.road == "city_street" && random.chance(control ? 0.6 : 0.15);
  assess(scene);
  return scene;
}

}  // namespace mose::scenes
