#include "scenes/wording.h"

#include <algorithm>
#include <cctype>

#include "mose/core/strings.h"
#include "scenes/phrases.h"

namespace mose::scenes {
namespace {

std::string capital(std::string text) {
  if (!text.empty()) text[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(text[0])));
  return text;
}

std::string with_article(const std::string& phrase) {
  return (std::string("aeiou").find(phrase[0]) != std::string::npos ? "an " : "a ") + phrase;
}

// Words chosen once for an object, so that its texts agree.
struct Named {
  const Object* object;
  std::string definite, full;  // "car", "red car"
  std::string the() const { return "the " + definite; }
};

// Every random choice is a statement of its own: the order of calls must not be left to the
// compiler.
class Writer {
 public:
  Writer(const Scene& scene, uint64_t seed) : scene_(scene), random_(seed, scene.id + "/words") {
    for (const Object& object : scene.objects) {
      const Noun& noun = noun_of(object);
      const std::string head = pick(noun.heads);
      const std::string full = replace_all(noun.full, "{head}", head);
      const std::string definite = replace_all(noun.definite, "{head}", head);
      named_.push_back({&object, definite, replace_all(full, "{colour}", object.colour)});
    }
  }

  const Named& named(size_t i) const { return named_[i]; }

  std::string description(const Named& n) {
    const std::string where = pick(places(n.object->place));
    const std::string far = pick(distances(n.object->distance));
    const std::string verb = pick(verbs(*n.object));
    const std::string a = with_article(n.full);
    switch (random_.integer(0, 2)) {
      case 0:
        return capital(str(a, " ", verb, " ", where, ", ", far, "."));
      case 1:
        return str("There is ", a, " ", where, ", ", far, ".");
      default:
        return capital(str(where, ", ", far, ", there is ", a, "."));
    }
  }

  std::string explanation(const Named& n) {
    return capital(str(n.the(), " ", pick(reasons(*n.object)), "."));
  }

  std::string region(const Named& n) {
    const std::string what = description(n);
    const std::string link =
        n.object->risk == "low"
            ? "This matters little because"
            : pick({"This affects the ego car because", "It influences the ego car because"});
    const std::string why = pick(reasons(*n.object));
    return str(what, " ", link, " ", n.the(), " ", why, ".");
  }

  // The scene, then one sentence an object, near to far.
  std::string summary() {
    Texts sentences = {scene_sentence()};
    if (scene_.glare)
      sentences.push_back(pick({"The low sun causes glare.", "There is glare from the low sun."}));
    if (scene_.crosswalk) sentences.push_back("There is a crosswalk ahead.");
    if (scene_.oncoming_left)
      sentences.push_back(pick({"Traffic on the left comes towards us.",
                                "A double line separates the oncoming traffic."}));
    for (size_t i = named_.size(); i-- > 0;) {
      const Named& n = named_[i];
      const std::string where = pick(places(n.object->place));
      const std::string why = pick(reasons(*n.object));
      sentences.push_back(capital(str(with_article(n.full), " ", where, " ", why, ".")));
    }
    return join(sentences, " ");
  }

  // One or two sentences that name every action of the plan with what calls for it.
  std::string suggestion() {
    Texts sentences = {planned("stop") ? stopping()
                       : planned("change_lane_left") || planned("change_lane_right")
                           ? passing()
                           : driving_on()};
    const std::string rest = monitoring();
    if (!rest.empty()) sentences.push_back(rest);
    return join(sentences, " ");
  }

 private:
  std::string pick(const Texts& texts) { return random_.choice(texts); }

  std::string scene_sentence() {
    const std::string road = "a " + replace_all(scene_.road, "_", " ");
    const std::string when =
        str("a ", weather_adjective(scene_.weather), " ", time_noun(scene_.time));
    const std::string state = str(time_state(scene_.time), " ", weather_state(scene_.weather));
    switch (random_.integer(0, 3)) {
      case 0:
        return str("It is ", when, " on ", road, ".");
      case 1:
        return str("The ego car drives on ", road, " on ", when, ".");
      case 2:
        return str("The ego car is on ", road, " ", state, ".");
      default:
        return str("The picture shows ", road, " ", state, ".");
    }
  }

  std::string stopping() {
    const Object* light = scene_.of("traffic_light");
    const Object* sign = scene_.of("traffic_sign");
    const Named* ahead = of(scene_.at(Place::kEgoLane));
    const bool yields = planned("yield");
    Texts causes;
    if (light && light->kind == "red") causes.push_back(of(light)->the());
    if (sign && sign->kind == "stop") causes.push_back(of(sign)->the());
    if (causes.empty()) causes.push_back(ahead->the());
    const std::string stop =
        pick({"Stop before ", "Come to a stop before ", "Stop and wait before "});
    std::string text = stop + listed(causes);
    if (yields) text += str(pick({" and yield to ", " and give way to "}), ahead->the());
    if (!yields && ahead && causes[0] == ahead->the())
      text += pick({", since no lane is free", ", because there is no free lane"});
    return text + ".";
  }

  std::string passing() {
    const std::string side = planned("change_lane_left") ? "left" : "right";
    const std::string slow = pick({"Slow down", "Reduce speed"});
    const std::string change = pick({"change to the ", "move over to the "});
    const std::string around = pick({" lane to drive around ", " lane to get around "});
    return str(slow, " and ", change, side, around, of(scene_.at(Place::kEgoLane))->the(), ".");
  }

  std::string driving_on() {
    const Named* lead = of(scene_.at(Place::kEgoLane));
    std::string text;
    if (planned("keep_speed")) {
      text = pick({"Keep the current speed", "Maintain the speed"});
      if (!planned("keep_distance"))
        text += pick({", since the way ahead is free", " in the ego lane"});
    } else {
      const std::string slow = pick({"Slow down because of ", "Reduce speed because of "});
      text = slow + listed(slow_causes());
    }
    Texts more;
    if (planned("keep_distance"))
      more.push_back(pick({"keep a safe distance from ", "keep more distance to "}) + lead->the());
    if (planned("prepare_to_brake"))
      more.push_back(pick({"prepare to brake", "be ready to brake"}));
    for (size_t i = 0; i < more.size(); ++i)
      text += (i + 1 == more.size() ? " and " : ", ") + more[i];
    return text + ".";
  }

  Texts slow_causes() const {
    Texts causes;
    const Object* light = scene_.of("traffic_light");
    const Object* sign = scene_.of("traffic_sign");
    if (light && light->kind == "yellow") causes.push_back(of(light)->the());
    if (sign && sign->kind != "direction") causes.push_back(of(sign)->the());
    if (scene_.slippery()) causes.push_back("the slippery road");
    if (scene_.weather == "fog") causes.push_back("the fog");
    if (scene_.time == "night") causes.push_back("the dark");
    causes.resize(std::min<size_t>(causes.size(), 2));
    return causes;
  }

  std::string monitoring() {
    Texts parts;
    if (planned("obey_signal")) {
      const Object* light = scene_.of("traffic_light");
      parts.push_back(pick({"obey ", "comply with "}) +
                      (light ? "the traffic light" : of(scene_.of("traffic_sign"))->the()));
    }
    if (planned("stay_alert")) {
      Texts watched;
      for (size_t i = named_.size(); i-- > 0 && watched.size() < 2;) {
        const std::string& risk = named_[i].object->risk;
        if (risk == "crossing" || risk == "cut_in" || risk == "occlusion")
          watched.push_back(named_[i].the());
      }
      parts.push_back(pick({"stay alert for ", "watch ", "pay attention to "}) + listed(watched));
    }
    return parts.empty() ? "" : capital(listed(parts) + ".");
  }

  const Named* of(const Object* object) const {
    for (const Named& n : named_) {
      if (n.object == object) return &n;
    }
    return nullptr;
  }
  bool planned(const std::string& action) const {
    return std::find(scene_.plan.begin(), scene_.plan.end(), action) != scene_.plan.end();
  }
  static std::string listed(const Texts& items) {
    return items.size() < 2 ? join(items, "") : str(items[0], " and ", items[1]);
  }

  const Scene& scene_;
  RandomStream random_;
  std::vector<Named> named_;
};

}  // namespace

coda::Annotation word_scene(const Scene& scene, uint64_t seed,
                            const std::vector<std::array<double, 4>>& boxes) {
  Writer writer(scene, seed);
  coda::Annotation annotation;
  annotation.id = scene.id;
  for (const char* category : coda::kGeneralCategories) annotation.general[category];
  for (size_t i = 0; i < scene.objects.size(); ++i) {
    const Named& n = writer.named(i);
    const ClassSpec& spec = *n.object->spec;
    coda::Entry entry;
    entry.description = writer.description(n);
    entry.explanation = writer.explanation(n);
    annotation.general[spec.category].push_back(entry);
    const auto& [x, y, w, h] = boxes.at(i);
    annotation.regions.push_back(
        {std::to_string(i + 1), {x, y, w, h}, spec.name, writer.region(n)});
  }
  annotation.summary = writer.summary();
  annotation.driving_suggestion = writer.suggestion();
  return annotation;
}

}  // namespace mose::scenes
