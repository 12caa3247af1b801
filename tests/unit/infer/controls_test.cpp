#include "mose/infer/controls.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <set>

#include "mose/core/error.h"

namespace mose::infer {
namespace {

TEST(Derangement, IsOneToOneSeededAndLeavesNothingInPlace) {
  for (size_t n : {2u, 3u, 10u, 101u}) {
    for (uint64_t seed = 0; seed < 20; ++seed) {
      const auto order = derangement(n, seed);
      for (size_t i = 0; i < n; ++i) EXPECT_NE(order[i], i);
      EXPECT_EQ(std::set<size_t>(order.begin(), order.end()).size(), n);
    }
  }
  EXPECT_EQ(derangement(10, 3), derangement(10, 3));
  EXPECT_NE(derangement(10, 3), derangement(10, 4));
  EXPECT_THROW(derangement(1, 0), UsageError);
}

TEST(ShuffledImages, EveryItemOfASceneIsShownTheSameOtherScene) {
  const std::vector<Shown> items = {{"a", "a.jpg"}, {"a", "a1.jpg", true}, {"a", "a2.jpg", true}, {"a", "a3.jpg", true},
                                    {"b", "b.jpg"}, {"b", "b1.jpg", true}, {"b", "b2.jpg", true},
                                    {"c", "c.jpg"}};
  for (uint64_t seed = 0; seed < 10; ++seed) {
    const auto images = shuffled_images(items, seed);
    const char donor = images[0][0];
    EXPECT_NE(donor, 'a');
    // Region questions see region pictures, one after the other, where the other scene has any.
    const std::vector<std::string> from_b = {"b.jpg", "b1.jpg", "b2.jpg", "b1.jpg", "c.jpg", "c.jpg", "c.jpg", "a.jpg"};
    const std::vector<std::string> from_c = {"c.jpg", "c.jpg", "c.jpg", "c.jpg", "a.jpg", "a1.jpg", "a2.jpg", "b.jpg"};
    EXPECT_EQ(images, donor == 'b' ? from_b : from_c);
  }
}

}  // namespace
}  // namespace mose::infer
