#include "scenes/phrases.h"

#include <map>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::scenes {
namespace {

const char* look_up(const std::map<std::string, const char*>& table, const std::string& value) {
  const auto found = table.find(value);
  if (found == table.end()) throw Error(str("scenes: no phrase for ", value));
  return found->second;
}

}  // namespace

const Noun& noun_of(const Object& object) {
  static const std::map<std::string, Noun> nouns = {
      {"car", {{"car"}, "{colour} {head}"}},
      {"truck", {{"truck"}, "{colour} {head}"}},
      {"bus", {{"bus"}, "{colour} {head}"}},
      {"construction_vehicle", {{"construction vehicle", "excavator"}, "{colour} {head}"}},
      {"tricycle", {{"tricycle", "cargo tricycle"}, "{colour} {head}"}},
      {"pedestrian", {{"pedestrian"}, "{head} in a {colour} coat"}},
      {"cyclist", {{"cyclist"}, "{head} in a {colour} coat"}},
      {"motorcycle", {{"motorcycle", "motorcyclist"}, "{head} with a rider in {colour}"}},
      {"stroller", {{"stroller"}, "{colour} {head} with a parent"}},
      {"dog", {{"dog"}, "{colour} {head}"}},
      {"traffic_cone", {{"traffic cones", "cones"}, "group of {colour} {head}", "group of {head}"}},
      {"barrier", {{"barrier"}, "{colour} {head}"}},
      {"bollard", {{"bollards"}, "row of {colour} {head}", "row of {head}"}},
      {"debris", {{"debris"}, "pile of {head}", "pile of {head}"}},
      {"dustbin", {{"dustbin", "trash bin"}, "{colour} {head}"}},
      {"concrete_block", {{"concrete block"}, "{colour} {head}"}},
      {"machinery", {{"concrete mixer", "machine"}, "{colour} {head}"}},
      {"suitcace", {{"suitcase"}, "{colour} {head}"}},
      {"traffic_sign/speed_limit", {{"speed limit sign"}, "{head}"}},
      {"traffic_sign/stop", {{"stop sign"}, "{head}"}},
      {"traffic_sign/crossing", {{"pedestrian crossing sign"}, "{head}"}},
      {"traffic_sign/road_work", {{"road work sign"}, "{head}"}},
      {"traffic_sign/direction", {{"direction sign"}, "green {head}"}},
      {"traffic_light/red", {{"red traffic light"}, "{head}"}},
      {"traffic_light/yellow", {{"yellow traffic light"}, "{head}"}},
      {"traffic_light/green", {{"green traffic light"}, "{head}"}},
  };
  std::string key = object.spec->name;
  if (!object.kind.empty()) key += "/" + object.kind;
  const auto found = nouns.find(key);
  if (found == nouns.end()) throw Error(str("scenes: no noun for ", key));
  return found->second;
}

Texts verbs(const Object& o) {
  const bool roadside = o.place == Place::kLeftRoadside || o.place == Place::kRightRoadside;
  const std::string name = o.spec->name;
  switch (o.spec->behaviour) {
    case Behaviour::kVehicle:
      if (roadside) return {"is parked", "stands"};
      if (o.oncoming) return {"is coming closer", "comes towards us"};
      return {"is driving", "drives", "moves"};
    case Behaviour::kRider:
      return {"is riding", "rides", "moves"};
    case Behaviour::kWalker:
      if (name == "dog") return {"is walking", "stands", "runs"};
      return {"is walking", "walks", "stands"};
    case Behaviour::kControl:
      if (o.place == Place::kOverhead) return {"hangs", "is mounted"};
      return {"stands"};
    case Behaviour::kObstacle:
      if (name == "debris") return {"lies", "is"};
      return {"stands", "is"};
  }
  return {"is"};
}

Texts places(Place place) {
  switch (place) {
    case Place::kLeftRoadside:
      return {"on the left roadside", "on the left side of the road"};
    case Place::kLeftLane:
      return {"in the left lane", "in the lane on the left"};
    case Place::kEgoLane:
      return {"in the ego lane", "directly ahead"};
    case Place::kRightLane:
      return {"in the right lane", "in the lane on the right"};
    case Place::kRightRoadside:
      return {"on the right roadside", "on the right side of the road"};
    case Place::kOverhead:
      return {"above the road"};
  }
  return {};
}

Texts distances(const std::string& distance) {
  if (distance == "near") return {"close to the ego car", "very close"};
  if (distance == "medium") return {"at a medium distance", "some way off"};
  return {"far ahead", "far away"};
}

// What follows "The car ...", by risk. "{lane}" is the object's lane.
Texts reasons(const Object& o) {
  const bool ego = o.place == Place::kEgoLane;
  const bool dog = std::string(o.spec->name) == "dog";
  if (o.risk == "collision") {
    if (o.spec->behaviour == Behaviour::kWalker) {
      return {"could be hit, because it is in the way",
              "is in danger of a collision with the ego car",
              "is right in the way, so a collision is possible"};
    }
    return {"could cause a collision, because the road is slippery",
            "is close to a collision when it brakes on the slippery road"};
  }
  if (o.risk == "crossing") {
    if (o.place == Place::kLeftLane || o.place == Place::kRightLane) {
      return {"may cross the road suddenly", "may cross at any moment",
              "may cross and get in the way of the ego car"};
    }
    return {
        dog ? "could run onto the road at any moment" : "could step onto the road at any moment",
        "may cross the road suddenly", "may cross and get in the way of the ego car"};
  }
  if (o.risk == "cut_in") {
    return {"may move into the ego lane", "could cut in at any moment",
            "may swerve into the ego lane suddenly"};
  }
  if (o.risk == "braking") {
    return {"may brake suddenly", "could stop suddenly, which affects the ego car",
            "may brake hard at any moment"};
  }
  if (o.risk == "blockage") {
    if (ego) {
      return {"blocks the ego lane, so the ego car may need to go around", "obstructs the ego lane",
              "is in the way and blocks the ego lane"};
    }
    return {o.place == Place::kLeftLane ? "blocks the left lane, so it is closed"
                                        : "blocks the right lane, so it is closed",
            "obstructs its lane and leaves less room"};
  }
  if (o.risk == "occlusion") {
    if (o.hidden)
      return {"is partly hidden behind a vehicle and could appear late",
              "is partly hidden and may come out suddenly"};
    if (o.spec->behaviour == Behaviour::kRider)
      return {"is hard to see in the poor light", "is hard to see, so it could be noticed late"};
    return {"may hide people behind it", "blocks the view, so somebody could appear behind it"};
  }
  if (o.risk == "rule") {
    if (o.kind == "red")
      return {"means that driving on is prohibited", "shows that the ego car must stop"};
    if (o.kind == "yellow")
      return {"will change soon, so the ego car must slow down",
              "means that the ego car must slow down"};
    if (o.kind == "green")
      return {"allows the ego car to drive on", "shows that driving on is allowed"};
    if (o.kind == "stop")
      return {"means that the ego car must stop",
              "shows that driving on without a halt is prohibited"};
    if (o.kind == "speed_limit")
      return {"sets a limit for the ego car",
              "means that going faster than the limit is prohibited"};
    if (o.kind == "crossing")
      return {"gives people on foot the right of way",
              "means that the ego car must give way to people"};
    return {"means that the ego car must slow down",
            "announces road work and sets a rule for the speed"};
  }
  if (o.kind == "direction") return {"only informs about the way", "has no influence on the speed"};
  if (o.oncoming && o.place == Place::kLeftLane)
    return {"has little influence, because it keeps to its side",
            "has little effect on the ego car"};
  return {"has little influence on the ego car",
          "is of little concern, because it is beside the road", "hardly affects the ego car"};
}

const char* weather_adjective(const std::string& weather) {
  return look_up({{"clear", "clear"}, {"rain", "rainy"}, {"fog", "foggy"}, {"snow", "snowy"}},
                 weather);
}
const char* weather_state(const std::string& weather) {
  return look_up({{"clear", "in clear weather"},
                  {"rain", "in the rain"},
                  {"fog", "in the fog"},
                  {"snow", "in the snow"}},
                 weather);
}
const char* time_noun(const std::string& time) {
  return look_up({{"day", "day"}, {"dusk", "evening"}, {"night", "night"}}, time);
}
const char* time_state(const std::string& time) {
  return look_up({{"day", "during the day"}, {"dusk", "at dusk"}, {"night", "at night"}}, time);
}

}  // namespace mose::scenes
