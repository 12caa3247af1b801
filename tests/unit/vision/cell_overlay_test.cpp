#include "mose/vision/cell_overlay.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <opencv2/imgcodecs.hpp>
#include <set>

#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::vision {
namespace {

TEST(CellOverlay, TintsEveryCellByItsClass) {
  const auto frame = torch::full({3, 12, 40}, 100, torch::kUInt8);  // enlarged 8 times
  const std::vector<CellPanel> panels = {{"layer 0", 4, 2, {0, 1, 2, 3, 4, 5, 6, 13}}, {"layer 2", 2, 1, {7, 8}}, {"layer 4", 1, 1, {9}}};
  const Overlay drawn = draw_cells(frame, panels, {{0, "expert 0"}, {13, "expert 13"}});
  const cv::Mat png = cv::imdecode(std::vector<uint8_t>(drawn.png.begin(), drawn.png.end()), cv::IMREAD_COLOR);
  ASSERT_FALSE(png.empty());
  ASSERT_EQ(drawn.places.size(), 3);
  for (size_t p = 0; p < panels.size(); ++p) {
    const auto& [left, top, width, height] = drawn.places[p];
    EXPECT_EQ(width, 320);
    EXPECT_EQ(height, 96);
    ASSERT_LE(left + width, png.cols);
    ASSERT_LE(top + height, png.rows);
    for (int64_t y = 0; y < height; ++y) {
      for (int64_t x = 0; x < width; ++x) {
        const auto cell = static_cast<size_t>((y * panels[p].down / height) * panels[p].across + x * panels[p].across / width);
        const Colour colour = class_colour(panels[p].classes[cell]);
        const auto& found = png.at<cv::Vec3b>(static_cast<int>(top + y), static_cast<int>(left + x));
        for (int c = 0; c < 3; ++c) ASSERT_NEAR(found[c], 45 + 0.55 * colour[static_cast<size_t>(2 - c)], 0.51) << p << " " << x << " " << y;
      }
    }
  }
  EXPECT_GT(drawn.places[1].left, drawn.places[0].left);
  EXPECT_GT(drawn.places[2].top, drawn.places[0].top + 96);  // the second line
}

TEST(CellOverlay, ALongLegendWidensTheDrawing) {
  const auto frame = torch::full({3, 12, 40}, 100, torch::kUInt8);
  const auto width = [&](const std::string& text) {
    const std::string png = draw_cells(frame, {{"layer 0", 1, 1, {0}}}, {{0, text}}).png;
    return cv::imdecode(std::vector<uint8_t>(png.begin(), png.end()), cv::IMREAD_COLOR).cols;
  };
  EXPECT_EQ(width("expert 0"), 320 + 2 * 8);
  EXPECT_GT(width("expert 0: " + std::string(60, 'x')), 60 * 6);
}

TEST(CellOverlay, ColoursDiffer) {
  std::set<Colour> colours;
  for (int64_t i = 0; i < 12; ++i) colours.insert(class_colour(i));
  EXPECT_EQ(colours.size(), 12);
  EXPECT_EQ(class_colour(12), class_colour(0));
}

TEST(CellOverlay, RefusesClassesThatAreNotTheGrid) {
  const auto frame = torch::zeros({3, 4, 4}, torch::kUInt8);
  EXPECT_NE(message_of<Error>([&] { draw_cells(frame, {{"layer 1", 2, 2, {0, 1, 2}}}, {}); }).find("expected 2 x 2 classes, found 3"), std::string::npos);
  EXPECT_THROW(draw_cells(frame, {}, {}), Error);
}

}  // namespace
}  // namespace mose::vision
