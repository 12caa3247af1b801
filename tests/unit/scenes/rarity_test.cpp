#include <gtest/gtest.h>

#include <cmath>
#include <map>

#include "mose/coda/annotation.h"
#include "scenes/world.h"

namespace mose::scenes {
namespace {

Scene scene(int i, const Rarity& rarity) { return sample_scene(11, "val_" + std::to_string(i), 640, 360, rarity); }

TEST(Rarity, ATestSplitHasEveryCombinationAsBefore) {
  for (int i = 0; i < 50; ++i) {
    const Scene plain = scene(i, {}), test = scene(i, {0.3, 2, true});
    EXPECT_EQ(scene_facts(plain, "", std::vector<std::array<double, 4>>(plain.objects.size())),
              scene_facts(test, "", std::vector<std::array<double, 4>>(test.objects.size())));
  }
}

TEST(Rarity, HeldOutCombinationsOccurInTestAlone) {
  const double share = 0.2;
  int held = 0, all = 0;
  for (const ClassSpec& spec : class_specs()) {
    for (size_t place = 0; place < kPlaces; ++place) {
      for (const char* weather : {"clear", "rain", "fog", "snow"}) {
        held += held_out(spec.name, static_cast<Place>(place), weather, share);
        ++all;
        // What is held out at a fifth is held out at a third.
        EXPECT_LE(held_out(spec.name, static_cast<Place>(place), weather, share), held_out(spec.name, static_cast<Place>(place), weather, 1.0 / 3));
      }
    }
  }
  EXPECT_NEAR(held, share * all, 3 * std::sqrt(share * (1 - share) * all));
  int in_test = 0;
  for (int i = 0; i < 600; ++i) {
    const Scene train = scene(i, {share, 0, false}), test = scene(i, {share, 0, true});
    EXPECT_GE(train.objects.size(), 2u);
    for (const Object& o : train.objects) EXPECT_FALSE(held_out(o.spec->name, o.place, train.weather, share)) << train.id;
    for (const Object& o : test.objects) in_test += held_out(o.spec->name, o.place, test.weather, share);
    const Json facts = scene_facts(test, "", std::vector<std::array<double, 4>>(test.objects.size()), share);
    for (size_t k = 0; k < test.objects.size(); ++k) {
      EXPECT_EQ(facts["objects"][k]["held_out"], held_out(test.objects[k].spec->name, test.objects[k].place, test.weather, share));
    }
  }
  EXPECT_GT(in_test, 200);
}

TEST(Rarity, AClassFurtherDownTheListIsDrawnLessOften) {
  std::map<std::string, int> tail, test;
  for (int i = 0; i < 2000; ++i) {
    for (const Object& o : scene(i, {0, 1.5, false}).objects) ++tail[o.spec->name];
    for (const Object& o : scene(i, {0, 1.5, true}).objects) ++test[o.spec->name];
  }
  const auto& specs = class_specs();
  EXPECT_GT(tail[specs[0].name], 1000);
  EXPECT_LT(tail[specs[19].name], 100);
  EXPECT_GT(tail[specs[4].name], 1.5 * tail[specs[14].name]);
  for (const ClassSpec& spec : specs) EXPECT_GT(test[spec.name], 150) << spec.name;
}

}  // namespace
}  // namespace mose::scenes
