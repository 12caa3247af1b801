// What each object means for the ego car, what to do about all of them, and the facts file.
#include "scenes/world.h"

namespace mose::scenes {
namespace {

std::string risk_of(const Object& object, const Scene& scene) {
  const bool roadside =
      object.place == Place::kLeftRoadside || object.place == Place::kRightRoadside;
  const bool ego = object.place == Place::kEgoLane;
  const std::string name = object.spec->name;
  if (object.hidden) return "occlusion";
  switch (object.spec->behaviour) {
    case Behaviour::kControl:
      return object.kind == "direction" ? "low" : "rule";
    case Behaviour::kObstacle:
      return roadside ? "low" : "blockage";
    case Behaviour::kWalker:
      return ego ? "collision" : "crossing";
    case Behaviour::kRider:
      if (ego) return scene.slippery() ? "collision" : "braking";
      if (scene.dim()) return "occlusion";  // hard to see
      return roadside ? "low" : "cut_in";
    case Behaviour::kVehicle:
      if (ego) return scene.slippery() ? "collision" : "braking";
      if (roadside) return name == "car" ? "low" : "occlusion";  // people may be behind it
      return object.oncoming ? "low" : "cut_in";
  }
  return "low";
}

bool lane_free(const Scene& scene, Place lane) {
  return !scene.at(lane) && !(lane == Place::kLeftLane && scene.oncoming_left);
}

}  // namespace

void assess(Scene& scene) {
  for (Object& object : scene.objects) object.risk = risk_of(object, scene);
  scene.plan.clear();
  auto act = [&](const char* action) { scene.plan.push_back(action); };

  const Object* ahead = scene.at(Place::kEgoLane);
  const Object* light = scene.of("traffic_light");
  const Object* sign = scene.of("traffic_sign");
  const std::string state = light ? light->kind : "";
  const std::string order = sign ? sign->kind : "";
  const Behaviour kind = ahead ? ahead->spec->behaviour : Behaviour::kControl;
  const bool lead = kind == Behaviour::kVehicle || kind == Behaviour::kRider;
  const bool watch = [&] {
    for (const Object& o : scene.objects) {
      if (o.risk == "crossing" || o.risk == "cut_in" || o.risk == "occlusion") return true;
    }
    return false;
  }();

  if (state == "red" || order == "stop" || kind == Behaviour::kWalker) {
    act("stop");
    if (kind == Behaviour::kWalker) act("yield");
  } else if (kind == Behaviour::kObstacle) {
    if (lane_free(scene, Place::kLeftLane)) {
      act("slow_down");
      act("change_lane_left");
    } else if (lane_free(scene, Place::kRightLane)) {
      act("slow_down");
      act("change_lane_right");
    } else {
      act("stop");
    }
  } else {
    const bool slow = scene.slippery() || scene.dim() || state == "yellow" ||
                      order == "speed_limit" || order == "road_work" || order == "crossing";
    act(slow ? "slow_down" : "keep_speed");
    if (lead) act("keep_distance");
    if (state == "yellow" || (lead && ahead->distance == "near")) act("prepare_to_brake");
  }
  if (light || (sign && order != "direction")) act("obey_signal");
  if (watch) act("stay_alert");
}

Json scene_facts(const Scene& scene, const std::string& image,
                 const std::vector<std::array<double, 4>>& boxes, double hold_out) {
  Json facts;
  facts["id"] = scene.id;
  facts["image"] = image;
  facts["scene"] = {{"weather", scene.weather},     {"time", scene.time},
                    {"road", scene.road},           {"glare", scene.glare},
                    {"crosswalk", scene.crosswalk}, {"oncoming_left", scene.oncoming_left}};
  Json objects = Json::array(), describe = Json::array(), reason = Json::array();
  Json regions = Json::object();
  describe.push_back("weather:" + scene.weather);
  describe.push_back("time:" + scene.time);
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const Object& object = scene.objects[i];
    const std::string name = object.spec->name;
    const std::string where = name + "@" + place_name(object.place);
    const std::string why = name + ":" + object.risk;
    Json json = {
        {"class", name},       {"place", place_name(object.place)}, {"distance", object.distance},
        {"risk", object.risk}, {"hidden", object.hidden},           {"box", boxes.at(i)}};
    if (!object.colour.empty()) json["colour"] = object.colour;
    if (!object.kind.empty()) json["kind"] = object.kind;
    if (hold_out > 0) json["held_out"] = held_out(name, object.place, scene.weather, hold_out);
    objects.push_back(json);
    describe.push_back(where);
    reason.push_back(why);
    regions[std::to_string(i + 1)] = {{"describe", {where}}, {"reason", {why}}};
  }
  facts["objects"] = objects;
  facts["describe"] = describe;
  facts["reason"] = reason;
  facts["plan"] = scene.plan;
  facts["regions"] = regions;
  return facts;
}

}  // namespace mose::scenes
