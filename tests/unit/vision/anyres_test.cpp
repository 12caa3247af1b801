#include "mose/vision/anyres.h"

#include <gtest/gtest.h>

#include <cmath>
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

// Tiles of 336 pixels with 24 x 24 cells, as LLaVA-NeXT's.
Tiling released() { return {{336, 336}, 24, 24, 576, kPinpoints}; }

// The rows that the description gives: lay a canvas out in cells, each seen as part of the image or of the border
// alone when the image is resized to touch the canvas and centred, and drop whole lines of border in pairs.
int64_t rows_by_description(const ImageSize& original, const Tiling& tiling) {
  const ImageSize canvas = best_canvas(original, tiling.pinpoints);
  const int64_t across = canvas.width / tiling.tile.width * tiling.cells_across;
  const int64_t down = canvas.height / tiling.tile.height * tiling.cells_down;
  const double scale = std::min(static_cast<double>(across) / static_cast<double>(original.width),
                                static_cast<double>(down) / static_cast<double>(original.height));
  const double wide = static_cast<double>(original.width) * scale, high = static_cast<double>(original.height) * scale;
  int64_t lines = down, columns = across;
  while (lines >= 2 && static_cast<double>(lines - 2) >= std::floor(high + 1e-7)) lines -= 2;
  while (columns >= 2 && static_cast<double>(columns - 2) >= std::floor(wide + 1e-7)) columns -= 2;
  return tiling.frame_rows + lines * columns + lines;
}

TEST(ImageLayout, OfKnownSizes) {
  const auto layout = layout_image({1920, 1080}, released());
  EXPECT_EQ(layout.tiles(), 5);
  EXPECT_EQ(layout.original, (ImageSize{1920, 1080}));
  EXPECT_EQ(layout.width, 48);   // of 48 x 48 cells, 48 x 27 show the image; an even number of lines is left out
  EXPECT_EQ(layout.height, 28);
  EXPECT_EQ(layout.top, 10);
  EXPECT_EQ(layout.rows(), 576 + 28 * 49);
  EXPECT_EQ(layout_image({336, 1008}, released()).rows(), 576 + 72 * 25);
  EXPECT_EQ(layout_image({672, 672}, released()).rows(), 576 + 48 * 49);
  EXPECT_EQ(layout_image({10, 10}, released()).rows(), 576 + 24 * 25);  // in the middle of 48 x 24 cells
  EXPECT_EQ(layout_image({65000, 1}, released()).rows(), 576) << "less than a line of cells";
  EXPECT_EQ(most_rows(released()), 576 + 48 * 49);
}

TEST(ImageLayout, HoldsTheCellsThatTheDescriptionKeeps) {
  const Tiling odd{{30, 18}, 5, 3, 15, {{30, 18}, {60, 18}, {30, 54}, {90, 36}, {60, 54}}};
  for (const Tiling& tiling : {released(), odd}) {
    for (int64_t width = 1; width < 700; width += 13) {
      for (int64_t height = 1; height < 500; height += 11) {
        const ImageLayout layout = layout_image({width, height}, tiling);
        ASSERT_EQ(layout.rows(), rows_by_description({width, height}, tiling)) << width << " x " << height;
        ASSERT_GE(layout.left, 0);
        ASSERT_EQ(2 * layout.left + layout.width, layout.tiles_across * tiling.cells_across);
        ASSERT_EQ(2 * layout.top + layout.height, layout.tiles_down * tiling.cells_down);
        ASSERT_LE(layout.rows(), most_rows(tiling));
      }
    }
  }
}

TEST(ImageLayout, WithoutPinpointsIsOneFrameWhateverTheSize) {
  Tiling tiling = released();
  tiling.pinpoints.clear();
  const ImageLayout layout = layout_image({1920, 1080}, tiling);
  EXPECT_EQ(layout.tiles(), 1);
  EXPECT_EQ(layout.rows(), 576);
  EXPECT_EQ(most_rows(tiling), 576);
}

TEST(AnyRes, PartsAreCutFromTheCanvasRowByRow) {
  cv::Mat image(4, 8, CV_8UC3, cv::Scalar(0, 0, 0));  // twice as wide as high, on a square canvas
  image(cv::Rect(4, 0, 4, 4)).setTo(cv::Scalar(255, 255, 255));
  std::vector<uchar> bytes;
  cv::imencode(".png", image, bytes);
  const std::string_view file{reinterpret_cast<const char*>(bytes.data()), bytes.size()};
  PreprocessConfig config;
  config.width = config.height = 4;
  config.filter = "box";
  const Tiling tiling{{4, 4}, 2, 2, 4, {{8, 8}}};
  const Tiles tiles = decode_tiles(file, "test", config, layout_image({8, 4}, tiling));
  EXPECT_EQ(tiles.pixels_NCHW.sizes(), (std::vector<int64_t>{5, 3, 4, 4}));
  EXPECT_EQ(tiles.original, (ImageSize{8, 4}));
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
  const std::string other = message_of<DataError>([&] { decode_tiles(file, "road.png", config, layout_image({8, 5}, tiling)); });
  EXPECT_NE(other.find("road.png: expected an image of 8 x 5 pixels, found 8 x 4"), std::string::npos) << other;
}

TEST(AnyRes, ProcessorFilesRoundTripWithTheirPinpoints) {
  const TemporaryFolder folder;
  PreprocessConfig tile;
  tile.width = tile.height = 336;
  tile.filter = "bicubic";
  tile.mean = {0.1, 0.2, 0.3};
  save_preprocess(folder.path, tile, kPinpoints);
  EXPECT_EQ(to_json_config(load_preprocess(folder.path)), to_json_config(tile));
  EXPECT_EQ(load_pinpoints(folder.path), kPinpoints);
  const Json json = load_json(folder.path / "preprocessor_config.json");
  EXPECT_EQ(json["image_processor_type"], "LlavaNextImageProcessor");
  EXPECT_EQ(json["image_grid_pinpoints"][0], Json({336, 672})) << "[height, width]";
  save_preprocess(folder.path, tile, {});
  EXPECT_TRUE(load_pinpoints(folder.path).empty());
  tile.filter = "area";
  EXPECT_THROW(save_preprocess(folder.path, tile, kPinpoints), UsageError);
}

TEST(AnyRes, NamesWhatDoesNotFit) {
  const auto message = [&](const Tiling& tiling) { return message_of<UsageError>([&] { check_tiling(tiling); }); };
  EXPECT_NE(message({{336, 336}, 24, 24, 576, {{672, 300}}}).find("672 x 300"), std::string::npos);
  EXPECT_NE(message({{336, 336}, 24, 24, 576, {{0, 0}}}).find("0 x 0"), std::string::npos);
  EXPECT_NE(message({{336, 336}, 24, 24, 575, kPinpoints}).find("first patch"), std::string::npos);
  EXPECT_NO_THROW(check_tiling(released()));
  PreprocessConfig config;
  config.width = config.height = 336;
  config.mode = "crop";
  const auto decode = [&] { decode_tiles("", "test", config, layout_image({3, 3}, released())); };
  EXPECT_NE(message_of<UsageError>(decode).find("crop"), std::string::npos);
  EXPECT_THROW(best_canvas({3, 3}, {}), UsageError);
}

}  // namespace
}  // namespace mose::vision
