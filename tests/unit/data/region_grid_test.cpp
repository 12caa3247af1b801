#include "mose/data/region_grid.h"

#include <gtest/gtest.h>

namespace mose::data {
namespace {

// A frame of 80 x 40 pixels in patches of 10 x 10, over an image of twice the size.
const RegionGrid kGrid{{"car", "cone"}, 4, 8};
const vision::ImageSize kOriginal{160, 80};

vision::PreprocessConfig frame(const std::string& mode = "stretch") {
  vision::PreprocessConfig config;
  config.width = 80;
  config.height = 40;
  config.mode = mode;
  return config;
}

std::vector<int64_t> patches_of(const torch::Tensor& targets_PC, int64_t category) {
  std::vector<int64_t> patches;
  for (int64_t p = 0; p < targets_PC.size(0); ++p) {
    if (targets_PC[p][category].item<float>() == 1) patches.push_back(p);
  }
  return patches;
}

using Patches = std::vector<int64_t>;

TEST(RegionTargets, PatchesWhoseCentreLiesInTheBoxAreOne) {
  // In the frame: x 12 to 38, y 4 to 26. Centres at 15, 25, 35 and 5, 15, 25.
  const auto targets = region_targets({{{24, 8, 52, 44}, "car"}}, kGrid, kOriginal, frame());
  EXPECT_EQ(targets.sizes(), (std::vector<int64_t>{32, 2}));
  EXPECT_EQ(patches_of(targets, 0), (Patches{1, 2, 3, 9, 10, 11, 17, 18, 19}));
  EXPECT_EQ(patches_of(targets, 1), Patches{});
}

TEST(RegionTargets, SmallBoxTakesThePatchThatHoldsItsCentre) {
  // In the frame: x 71 to 73, y 31 to 33: no patch centre inside.
  const auto targets = region_targets({{{142, 62, 4, 4}, "cone"}}, kGrid, kOriginal, frame());
  EXPECT_EQ(patches_of(targets, 1), Patches{31});
}

TEST(RegionTargets, ObjectsOfACategoryAddUpAndOtherCategoriesAreLeftOut) {
  const auto targets = region_targets(
      {{{0, 0, 20, 20}, "cone"}, {{140, 60, 20, 20}, "cone"}, {{0, 0, 160, 80}, "dog"}}, kGrid,
      kOriginal, frame());
  EXPECT_EQ(patches_of(targets, 1), (Patches{0, 31}));
  EXPECT_EQ(patches_of(targets, 0), Patches{});
}

TEST(RegionTargets, FollowTheFrameThatPaddingAndCroppingMake) {
  // A square image: padding puts it at x 20 to 60 of the frame, cropping shows its rows 1/4 to 3/4.
  const vision::ImageSize square{100, 100};
  const skills::RegionTarget middle{{45, 45, 10, 10}, "car"};
  const skills::RegionTarget corner{{0, 0, 10, 10}, "cone"};
  const auto padded = region_targets({middle, corner}, kGrid, square, frame("pad"));
  EXPECT_EQ(patches_of(padded, 0), Patches{20});  // the centre (40, 20) opens patch (4, 2)
  EXPECT_EQ(patches_of(padded, 1), Patches{2});   // the frame's x 20 to 24, y 0 to 4
  const auto cropped = region_targets({middle, corner}, kGrid, square, frame("crop"));
  EXPECT_EQ(patches_of(cropped, 0), Patches{20});
  EXPECT_EQ(patches_of(cropped, 1), Patches{}) << "cut off";
}

}  // namespace
}  // namespace mose::data
