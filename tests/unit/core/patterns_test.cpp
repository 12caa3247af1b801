#include "mose/core/patterns.h"

#include <gtest/gtest.h>

namespace mose {
namespace {

TEST(Patterns, StarStandsForAnyText) {
  EXPECT_TRUE(matches("a.b.c", "a.*"));
  EXPECT_TRUE(matches("a.b.c", "*.c"));
  EXPECT_TRUE(matches("a.b.c", "a*b*c"));
  EXPECT_TRUE(matches("aab", "*ab"));
  EXPECT_TRUE(matches("a", "a*"));
  EXPECT_TRUE(matches("", "*"));
  EXPECT_FALSE(matches("a.b.c", "b*"));
  EXPECT_FALSE(matches("a.b.c", "a.b"));
  EXPECT_FALSE(matches("a", ""));
}

TEST(Patterns, AddAndTakeOut) {
  EXPECT_TRUE(chosen("model.vision_tower.stem.0", {"*"}));
  EXPECT_FALSE(chosen("model.vision_tower.stem.0", {"*", "!model.vision_tower.*"}));
  EXPECT_TRUE(chosen("model.vision_tower.stem.0", {"!model.vision_tower.*", "*stem*"}));
  EXPECT_FALSE(chosen("lm_head.weight", {"model.*"}));
  EXPECT_FALSE(chosen("lm_head.weight", {}));
}

}  // namespace
}  // namespace mose
