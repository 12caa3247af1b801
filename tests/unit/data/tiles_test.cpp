// Images of several tiles in batches.
#include "fixture.h"
#include "mose/core/error.h"
#include "mose/vision/anyres.h"
#include "support/helpers.h"

namespace mose::data {
namespace {

// Frames of 8 x 4 pixels in 2 x 1 cells; the canvases are two tiles across and two down.
vision::Tiling tiling() { return {{8, 4}, 2, 1, 2, {{16, 4}, {8, 8}}}; }

// Four samples: wide picture (3 tiles, left part dark, right part light), text alone, tall picture (3), wide again.
struct Set {
  TemporaryFolder folder;
  std::vector<Encoded> samples = make_samples(4);

  Set() {
    cv::Mat wide(20, 80, CV_8UC3, cv::Scalar::all(0)), tall(30, 30, CV_8UC3, cv::Scalar::all(100));
    wide(cv::Rect(40, 0, 40, 20)).setTo(cv::Scalar::all(200));
    cv::imwrite((folder.path / "wide.png").string(), wide);
    cv::imwrite((folder.path / "tall.png").string(), tall);
    for (const size_t i : {0, 2, 3}) {
      samples[i].image = i == 2 ? "tall.png" : "wide.png";
      samples[i].layout = vision::layout_file(folder.path / samples[i].image, tiling());
    }
    samples[1].image.clear();
    samples[2].scene_words = {6};
  }
  Batch batch(LoaderConfig config = loader_config(4, 0)) const {
    config.shuffle = false;
    return Loader(samples, folder.path, small_frame(), config, kSizes, 1).next();
  }
};

double level(const torch::Tensor& tile) { return tile.mean().item<double>() * 255; }

TEST(TileBatch, HoldsAllTilesAndTheLayoutOfEachImage) {
  const Set set;
  const Batch batch = set.batch();
  EXPECT_EQ(batch.images, (std::vector<int64_t>{1, 0, 1, 1}));
  ASSERT_EQ(batch.image_count(), 3);
  EXPECT_EQ(batch.layouts[0].tiles_across, 2);
  EXPECT_EQ(batch.layouts[1].tiles_down, 2);
  EXPECT_EQ(batch.layouts[1].original, (vision::ImageSize{30, 30}));
  ASSERT_EQ(batch.pixels_BCHW.sizes(), (std::vector<int64_t>{9, 3, 4, 8}));
  EXPECT_NEAR(level(batch.pixels_BCHW[0]), 100, 1);
  EXPECT_NEAR(level(batch.pixels_BCHW[1]), 0, 1);
  EXPECT_NEAR(level(batch.pixels_BCHW[2]), 200, 1);
  EXPECT_NEAR(level(batch.pixels_BCHW[3]), 100, 1);
  EXPECT_TRUE(batch.pixels_BCHW.slice(0, 0, 3).equal(batch.pixels_BCHW.slice(0, 6, 9)));
  EXPECT_EQ(batch.scene_words_2N.select(0, 0).item<int64_t>(), 1) << "counts images, not tiles";
}

TEST(TileBatch, SlicesTakeTheTilesOfTheirSamples) {
  const Set set;
  const Batch batch = set.batch();
  const Batch part = slice_samples(batch, 1, 3);
  ASSERT_EQ(part.image_count(), 1);
  EXPECT_EQ(part.layouts[0].tiles_down, 2);
  EXPECT_TRUE(part.pixels_BCHW.equal(batch.pixels_BCHW.slice(0, 3, 6)));
  EXPECT_TRUE(slice_samples(batch, 3, 4).pixels_BCHW.equal(batch.pixels_BCHW.slice(0, 6, 9)));
  EXPECT_FALSE(slice_samples(batch, 1, 2).pixels_BCHW.defined());
}

TEST(TileBatch, BlindTilesAreAllTheMeanColour) {
  const Set set;
  LoaderConfig config = loader_config(4, 0);
  config.blind = true;
  const Batch batch = set.batch(config);
  EXPECT_EQ(batch.pixels_BCHW.sizes(), (std::vector<int64_t>{9, 3, 4, 8}));
  EXPECT_EQ(batch.pixels_BCHW.abs().max().item<float>(), 0);
}

TEST(TileBatch, AnImageThatChangedItsSizeIsAnError) {
  const Set set;
  cv::imwrite((set.folder.path / "wide.png").string(), cv::Mat(20, 81, CV_8UC3, cv::Scalar::all(0)));
  const std::string message = message_of<DataError>([&] { set.batch(); });
  EXPECT_NE(message.find("expected an image of 80 x 20 pixels, found 81 x 20"), std::string::npos) << message;
}

}  // namespace
}  // namespace mose::data
