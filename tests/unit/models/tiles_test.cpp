// LLaVA-NeXT's form: images of several tiles. Held against a plain description; tests/parity/llava_next.py holds
// the same against transformers.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/models/account.h"
#include "mose/models/bundle.h"
#include "mose/models/upcycle.h"
#include "mose/nn/layers.h"
#include "support/helpers.h"
#include "support/tiny_model.h"

namespace mose::models {
namespace {

using ::testing::HasSubstr;
using torch::Tensor;

// Tiles of 64 x 32 pixels, 4 x 2 patches of 16.
Config tiled_config(int64_t merge) {
  Config c = tests::tiny_config();
  c.projector.merge = merge;
  c.grid_pinpoints = {{128, 32}, {64, 96}, {128, 64}};
  return c;
}

// The same weights in a model that knows frames only.
std::shared_ptr<VisionLanguageModel> frame_twin(const VisionLanguageModel& model) {
  Config c = model.config();
  c.grid_pinpoints.clear();
  auto twin = make_model(c, 1);
  const torch::NoGradGuard no_grad;
  const auto weights = model.named_parameters();
  for (auto& p : twin->named_parameters()) p.value().copy_(weights[p.key()]);
  return twin;
}

struct Images {
  std::vector<vision::ImageLayout> layouts;
  Tensor pixels;
};

Images images_of(const Config& config, const std::vector<vision::ImageSize>& sizes) {
  torch::manual_seed(4);
  Images images;
  int64_t tiles = 0;
  for (const auto& size : sizes) {
    images.layouts.push_back(vision::layout_image(size, config.tiling()));
    tiles += images.layouts.back().tiles();
  }
  images.pixels = torch::randn({tiles, 3, 32, 64});
  return images;
}

// A wide one, a tall one, one that fills its canvas, one with borders of several cells.
const std::vector<vision::ImageSize> kSizes{{300, 60}, {40, 200}, {128, 64}, {90, 90}};

TEST(Tiles, RowsAreTheWholeFrameThenTheCellsOfTheImageLineByLine) {
  for (const int64_t merge : {1, 2}) {
    const auto model = make_model(tiled_config(merge), 3);
    const auto images = images_of(model->config(), kSizes);
    const torch::NoGradGuard no_grad;
    const auto features = model->encode_images(images.pixels, images.layouts);
    const Tensor of_tile = frame_twin(*model)->encode_images(images.pixels).embeddings_BQD;
    const Tensor newline = model->named_parameters()["model.image_newline"];
    const int64_t across = 4 / merge, down = 2 / merge;  // cells of a tile
    std::vector<Tensor> expected;
    int64_t first = 0;
    for (size_t i = 0; i < kSizes.size(); ++i) {
      const auto& l = images.layouts[i];
      EXPECT_TRUE(torch::allclose(features.embeddings_BQD[static_cast<int64_t>(i)], of_tile[first], 1e-5, 1e-6));
      for (int64_t q = 0; q < across * down; ++q) expected.push_back(of_tile[first][q]);
      for (int64_t y = l.top; y < l.tiles_down * down - l.top; ++y) {
        for (int64_t x = l.left; x < l.tiles_across * across - l.left; ++x) {
          const int64_t tile = 1 + (y / down) * l.tiles_across + x / across;
          expected.push_back(of_tile[first + tile][(y % down) * across + x % across]);
        }
        expected.push_back(newline);
      }
      first += l.tiles();
    }
    ASSERT_EQ(features.rows_RD.size(0), static_cast<int64_t>(expected.size()));
    EXPECT_LT((features.rows_RD - torch::stack(expected)).abs().max().item<double>(), 1e-6) << merge;
    EXPECT_EQ(features.tower_BPD.size(0), 4);
  }
}

TEST(Tiles, NewlineGetsTheGradientOfEveryLine) {
  const auto model = make_model(tiled_config(1), 3);
  const auto images = images_of(model->config(), kSizes);
  model->encode_images(images.pixels, images.layouts).rows_RD.sum().backward();
  int64_t lines = 0;
  for (const auto& l : images.layouts) lines += l.height;
  EXPECT_TRUE(model->named_parameters()["model.image_newline"].grad().eq(static_cast<double>(lines)).all().item<bool>());
}

TEST(Tiles, AFrozenTowerSeesEachByItself) {
  const auto model = make_model(tiled_config(1), 3);
  const auto images = images_of(model->config(), kSizes);
  const Tensor together = model->encode_images(images.pixels, images.layouts).rows_RD;
  for (auto& p : model->tower()->parameters()) p.set_requires_grad(false);
  const Tensor features = model->tower_features(images.pixels);
  for (int64_t i = 0; i < features.size(0); ++i) {
    EXPECT_TRUE(torch::equal(features[i], model->tower_features(images.pixels.narrow(0, i, 1))[0])) << i;
  }
  const Tensor rows = model->project(features, images.layouts).rows_RD;
  EXPECT_TRUE(torch::equal(rows, model->encode_images(images.pixels, images.layouts, true).rows_RD));
  EXPECT_TRUE(torch::allclose(rows, together, 1e-4, 1e-5));
  EXPECT_TRUE(rows.requires_grad()) << "the projector learns";
  EXPECT_THAT(message_of<Error>([&] { model->project(features.narrow(1, 1, 4), images.layouts); }), HasSubstr("[N, 8,"));
}

TEST(Tiles, NumbersThatDisagreeAreErrors) {
  const auto model = make_model(tiled_config(1), 3);
  const auto images = images_of(model->config(), {{300, 60}});
  const auto encode = [&](const Tensor& pixels, const std::vector<vision::ImageLayout>& layouts) {
    return message_of<Error>([&] { model->encode_images(pixels, layouts); });
  };
  EXPECT_THAT(encode(images.pixels, {}), HasSubstr("0 images ask for 0 tiles, found 3"));
  EXPECT_THAT(encode(images.pixels.narrow(0, 0, 2), images.layouts), HasSubstr("1 images ask for 3 tiles, found 2"));
  EXPECT_THAT(encode(images.pixels.narrow(0, 0, 1), {{8}}), HasSubstr("1 tiles for a model with pinpoints"));
  auto other = images.layouts;
  other[0].frame_rows = 5;
  EXPECT_THAT(encode(images.pixels, other), HasSubstr("5 rows a frame for a model of 8"));
  EXPECT_THAT(message_of<Error>([&] { frame_twin(*model)->encode_images(images.pixels, images.layouts); }), HasSubstr("without pinpoints"));
  const Tensor rows = model->encode_images(images.pixels, images.layouts).rows_RD;
  const auto ids = torch::full({rows.size(0) - 1}, 299, torch::kInt64);
  const auto forward = [&] { model->forward(ids, nn::make_plan({ids.size(0)}), rows); };
  EXPECT_THAT(message_of<Error>(forward), HasSubstr(mose::str("has ", ids.size(0), " image tokens, the images make ", rows.size(0), " rows")));
}

TEST(Tiles, PinpointsThatNoTilesFillAreRefused) {
  Config c = tiled_config(1);
  c.grid_pinpoints = {{100, 32}};
  EXPECT_THAT(message_of<UsageError>([&] { make_model(c, 1); }), HasSubstr("100 x 32"));
}

TEST(Tiles, AccountCountsTheNewlineAndTheRows) {
  const Config c = tiled_config(1);
  EXPECT_EQ(account(c, 21, 3).total(), nn::count_parameters(*make_model(c, 1)));
  const Json json = account_to_json(c, account(c, 21, 3));
  EXPECT_EQ(json["image_tokens"], 8 + 4 * (8 + 1));
  // 1920 x 1080 on 128 x 64: 8 x 4 cells, of which 7 wide: one side's half is kept.
  EXPECT_EQ(json["image_tokens_typical"], 8 + 4 * (8 + 1));
  EXPECT_THAT(account_table(c, account(c, 21, 3)), HasSubstr("up to 44, 44 at 1920 x 1080"));
  EXPECT_EQ(account_to_json(tests::tiny_config(), account(tests::tiny_config(), 21, 3))["image_tokens_typical"], 2);
}

TEST(Tiles, AModelIsSavedLoadedAndUpcycledWithItsNewline) {
  const TemporaryFolder folder;
  Bundle bundle{make_model(tiled_config(2), 3), tests::tiny_tokenizer(), {}, tests::taxonomy()};
  bundle.preprocess.width = 64;
  bundle.preprocess.height = 32;
  const auto images = images_of(bundle.model->config(), kSizes);
  const torch::NoGradGuard no_grad;
  const Tensor rows = bundle.model->encode_images(images.pixels, images.layouts).rows_RD;
  const auto ids = torch::full({rows.size(0) + 3}, 299, torch::kInt64);
  ids.slice(0, rows.size(0)).fill_(7);
  const auto logits = [&](VisionLanguageModel& model) {
    const auto there = model.encode_images(images.pixels, images.layouts).rows_RD;
    return model.logits(model.forward(ids, nn::make_plan({ids.size(0)}), there).hidden_TD);
  };
  save_bundle(folder.path / "model", bundle);
  const Bundle loaded = load_bundle(folder.path / "model");
  EXPECT_EQ(loaded.model->config().grid_pinpoints, bundle.model->config().grid_pinpoints);
  EXPECT_TRUE(torch::equal(logits(*loaded.model), logits(*bundle.model)));
  const auto sparse = upcycle(*loaded.model, tests::tiny_moe(), tests::taxonomy(), {}, 2);
  EXPECT_TRUE(torch::allclose(logits(*sparse), logits(*bundle.model), 1e-5, 1e-5));
  bundle.preprocess.mode = "crop";
  save_bundle(folder.path / "model", bundle);
  EXPECT_THAT(message_of<DataError>([&] { load_bundle(folder.path / "model"); }), HasSubstr("grid_pinpoints"));
}

}  // namespace
}  // namespace mose::models
