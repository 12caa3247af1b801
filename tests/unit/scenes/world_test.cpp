#include "scenes/world.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <set>

#include "mose/coda/annotation.h"
#include "mose/core/resources.h"
#include "mose/eval/facts.h"
#include "scenes/picture.h"

namespace mose::scenes {
namespace {

Scene scene_number(int i, uint64_t seed = 11) {
  return sample_scene(seed, "val_" + std::to_string(i), 640, 360);
}

std::set<std::string> described(const Scene& scene) {
  std::set<std::string> facts = {"weather:" + scene.weather, "time:" + scene.time};
  for (const Object& o : scene.objects)
    facts.insert(std::string(o.spec->name) + "@" + place_name(o.place));
  return facts;
}

Object object(const char* name, Place place) {
  Object o;
  for (const ClassSpec& spec : class_specs()) {
    if (std::string(name) == spec.name) o.spec = &spec;
  }
  o.place = place;
  o.distance = "medium";
  return o;
}

TEST(ClassSpecs, AreCodaCategoriesAndCoverTheSevenGeneralOnes) {
  const auto& names = coda::category_names();
  std::set<std::string> general;
  for (const ClassSpec& spec : class_specs()) {
    EXPECT_NE(std::find(names.begin(), names.end(), spec.name), names.end()) << spec.name;
    EXPECT_NE(coda::region_class(spec.name), "") << spec.name;
    general.insert(spec.category);
  }
  EXPECT_EQ(general, std::set<std::string>(coda::kGeneralCategories.begin(),
                                           coda::kGeneralCategories.end()));
}

TEST(Scene, HasTwoToFiveObjectsOfDifferentClassesInDifferentPlaces) {
  for (int i = 0; i < 500; ++i) {
    const Scene scene = scene_number(i);
    EXPECT_GE(scene.objects.size(), 2u);
    EXPECT_LE(scene.objects.size(), 5u);
    std::set<std::string> classes;
    std::set<Place> places;
    for (const Object& o : scene.objects) {
      EXPECT_TRUE(classes.insert(o.spec->name).second);
      EXPECT_TRUE(places.insert(o.place).second);
    }
  }
}

// Without the picture no fact may be worth guessing: objects are spread over many (class, place)
// pairs, and the best constant answer scores low.
TEST(Scene, LeavesABlindGuessLittle) {
  constexpr int kScenes = 500;
  std::map<std::string, int> counts;
  double facts = 0;
  for (int i = 0; i < kScenes; ++i) {
    for (const std::string& fact : described(scene_number(i))) {
      ++counts[fact];
      ++facts;
    }
  }
  std::vector<int> sorted;  // of objects
  size_t pairs = 0;
  double hits = 0;  // of the most frequent weather and time
  std::map<char, int> top;
  for (const auto& [fact, count] : counts) {
    if (fact.find('@') == std::string::npos) {
      EXPECT_LT(count, 0.5 * kScenes) << fact;
      top[fact[0]] = std::max(top[fact[0]], count);
      continue;
    }
    ++pairs;
    sorted.push_back(count);
    EXPECT_LT(count, 0.12 * kScenes) << fact;
  }
  EXPECT_GE(pairs, 80u);
  // F1 of always stating one weather, one time and the k most frequent objects, for the best k.
  std::sort(sorted.rbegin(), sorted.rend());
  for (const auto& [kind, count] : top) hits += count;
  double best = 0;
  for (size_t k = 0; k <= 5; ++k) {
    best = std::max(best, 2 * hits / (facts + static_cast<double>(k + 2) * kScenes));
    hits += sorted[k];
  }
  EXPECT_LT(best, 0.25);
}

TEST(Picture, EveryBoxLiesInsideAndIsLargeEnoughToSee) {
  for (int i = 0; i < 60; ++i) {
    const Scene scene = scene_number(i);
    const Picture picture = draw_picture(scene, 11);
    ASSERT_EQ(picture.boxes.size(), scene.objects.size());
    for (size_t k = 0; k < picture.boxes.size(); ++k) {
      const auto [x, y, w, h] = picture.boxes[k];
      const std::string name = std::to_string(i) + " " + scene.objects[k].spec->name;
      EXPECT_GE(x, 0) << name;
      EXPECT_GE(y, 0) << name;
      EXPECT_LE(x + w, 640) << name;
      EXPECT_LE(y + h, 360) << name;
      EXPECT_GE(std::max(w, h), 28) << name;
      EXPECT_GE(std::min(w, h), 14) << name;
    }
  }
}

TEST(Picture, DependsOnTheSeedAlone) {
  auto same = [](const cv::Mat& a, const cv::Mat& b) {
    return std::equal(a.datastart, a.dataend, b.datastart, b.dataend);
  };
  const cv::Mat first = draw_picture(scene_number(3), 11).image;
  EXPECT_TRUE(same(first, draw_picture(scene_number(3), 11).image));
  EXPECT_FALSE(same(first, draw_picture(scene_number(3, 12), 12).image));
}

TEST(Plan, ChangesOnlyToALaneThatIsFreeAndRunsTheSameWay) {
  Scene scene;
  scene.weather = "clear";
  scene.time = "day";
  scene.objects = {object("barrier", Place::kEgoLane)};
  assess(scene);
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"slow_down", "change_lane_left"}));
  scene.oncoming_left = true;
  assess(scene);
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"slow_down", "change_lane_right"}));
  scene.objects.push_back(object("debris", Place::kRightLane));
  assess(scene);
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"stop"}));
}

TEST(Plan, StopsForARedLightAndYieldsToWhoeverIsInTheWay) {
  Scene scene;
  scene.weather = "clear";
  scene.time = "day";
  scene.objects = {object("traffic_light", Place::kOverhead),
                   object("pedestrian", Place::kEgoLane)};
  scene.objects[0].kind = "red";
  assess(scene);
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"stop", "yield", "obey_signal"}));
}

TEST(Plan, IsSlowerOnAWetRoad) {
  Scene scene;
  scene.weather = "clear";
  scene.time = "day";
  scene.objects = {object("car", Place::kEgoLane)};
  assess(scene);
  EXPECT_EQ(scene.objects[0].risk, "braking");
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"keep_speed", "keep_distance"}));
  scene.weather = "rain";
  assess(scene);
  EXPECT_EQ(scene.objects[0].risk, "collision");
  EXPECT_EQ(scene.plan, (std::vector<std::string>{"slow_down", "keep_distance"}));
}

TEST(Facts, UseOnlyTheLexiconsValues) {
  const auto lexicon = eval::FactLexicon::load(resource("facts/driving.json"));
  auto has = [](const std::vector<std::string>& list, const std::string& value) {
    return std::find(list.begin(), list.end(), value) != list.end();
  };
  std::set<std::string> classes, places, risks, actions;
  for (int i = 0; i < 600; ++i) {
    const Scene scene = scene_number(i);
    EXPECT_TRUE(has(lexicon.weather(), scene.weather));
    EXPECT_TRUE(has(lexicon.times(), scene.time));
    for (const Object& o : scene.objects) {
      classes.insert(o.spec->name);
      places.insert(place_name(o.place));
      risks.insert(o.risk);
    }
    actions.insert(scene.plan.begin(), scene.plan.end());
  }
  auto all = [](const std::vector<std::string>& list) {
    return std::set<std::string>(list.begin(), list.end());
  };
  EXPECT_EQ(classes, all(lexicon.classes()));
  EXPECT_EQ(places, all(lexicon.places()));
  EXPECT_EQ(risks, all(lexicon.risks()));
  EXPECT_EQ(actions, all(lexicon.actions()));
}

}  // namespace
}  // namespace mose::scenes
