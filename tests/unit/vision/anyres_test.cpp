#include "mose/vision/anyres.h"

#include <gtest/gtest.h>

#include <opencv2/imgcodecs.hpp>

#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::vision {
namespace {

const std::vector<ImageSize> kPinpoints{{672, 336}, {336, 672}, {672, 672}, {336, 1008}, {1008, 336}};

TEST(AnyRes, TheCanvasThatKeepsMostPixelsAndWastesLeast) {
  const auto best = [](int64_t width, int64_t height) {
    const ImageSize size = best_canvas({width, height}, kPinpoints);
    return std::pair{size.width, size.height};
  };
  EXPECT_EQ(best(600, 300), (std::pair<int64_t, int64_t>{672, 336}));    // all pixels kept by 3, least left here
  EXPECT_EQ(best(300, 600), (std::pair<int64_t, int64_t>{336, 672}));
  EXPECT_EQ(best(2000, 2000), (std::pair<int64_t, int64_t>{672, 672}));
  EXPECT_EQ(best(3000, 1000), (std::pair<int64_t, int64_t>{1008, 336}));
  EXPECT_EQ(best(10, 10), (std::pair<int64_t, int64_t>{672, 336}));      // equal: the first
}

TEST(AnyRes, PartsAreCutFromTheCanvasRowByRow) {
  cv::Mat image(4, 8, CV_8UC3, cv::Scalar(0, 0, 0));  // twice as wide as high, on a square canvas
  image(cv::Rect(4, 0, 4, 4)).setTo(cv::Scalar(255, 255, 255));
  std::vector<uchar> bytes;
  cv::imencode(".png", image, bytes);
  PreprocessConfig config;
  config.width = config.height = 4;
  config.filter = "box";
  const Tiles tiles = decode_tiles({reinterpret_cast<const char*>(bytes.data()), bytes.size()}, "test", config, {{8, 8}});
  EXPECT_EQ(tiles.pixels_NCHW.sizes(), (std::vector<int64_t>{5, 3, 4, 4}));
  EXPECT_EQ(tiles.original.width, 8);
  EXPECT_EQ(tiles.canvas.height, 8);
  const auto row_means = [&](int64_t frame) {
    std::vector<float> means;
    for (int64_t y = 0; y < 4; ++y) means.push_back(tiles.pixels_NCHW[frame][0][y].to(torch::kFloat32).mean().item<float>());
    return means;
  };
  EXPECT_EQ(row_means(0), (std::vector<float>{127.5, 127.5, 127.5, 127.5}));  // the whole, stretched
  EXPECT_EQ(row_means(1), (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(row_means(2), (std::vector<float>{0, 0, 255, 255}));              // two black rows above
  EXPECT_EQ(row_means(3), (std::vector<float>{0, 0, 0, 0}));
  EXPECT_EQ(row_means(4), (std::vector<float>{255, 255, 0, 0}));
}

TEST(AnyRes, NamesWhatDoesNotFit) {
  PreprocessConfig config;
  config.width = config.height = 336;
  const auto message = [&](const std::vector<ImageSize>& pinpoints) {
    return message_of<UsageError>([&] { decode_tiles("", "test", config, pinpoints); });
  };
  EXPECT_NE(message({{672, 300}}).find("672 x 300"), std::string::npos);
  config.mode = "crop";
  EXPECT_NE(message(kPinpoints).find("crop"), std::string::npos);
  EXPECT_THROW(best_canvas({3, 3}, {}), UsageError);
}

}  // namespace
}  // namespace mose::vision
