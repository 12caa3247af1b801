#include "mose/data/batch.h"

#include "fixture.h"
#include "mose/core/error.h"

namespace mose::data {
namespace {

// One batch of four samples in the data's order, lengths 3, 4, 5, 6.
Batch first_batch(const Pictures& pictures, RegionGrid grid = {}, int64_t text_only = -1) {
  std::vector<Encoded> samples = make_samples(4);
  if (text_only >= 0) samples[static_cast<size_t>(text_only)].image.clear();
  samples[2].objects = {{{0, 0, 16, 8}, "car", "a red car"}};
  samples[2].object_words = {{11, 12}};
  samples[0].scene_words = {5};
  samples[2].scene_words = {6, 7};
  LoaderConfig config = loader_config(4, 0);
  config.shuffle = false;
  Loader loader(std::move(samples), pictures.dir(), small_frame(), config, kSizes, 1, std::move(grid));
  return loader.next();
}

TEST(Batch, SamplesAreOnePackedStream) {
  const Pictures pictures(4);
  const Batch batch = first_batch(pictures);
  EXPECT_EQ(batch.samples, 4);
  EXPECT_EQ(batch.plan.offsets, (std::vector<int64_t>{0, 3, 7, 12, 18}));
  EXPECT_EQ(batch.plan.longest, 6);
  EXPECT_EQ(batch.supervised, 8);
  EXPECT_EQ(batch.targets, (std::vector<int64_t>{2, 2, 2, 2}));
  EXPECT_EQ(batch.images, (std::vector<int64_t>{1, 1, 1, 1}));
  const std::vector<Encoded> samples = make_samples(4);
  for (size_t n = 0; n < 4; ++n) {
    EXPECT_EQ(batch.ids[n], samples[n].id);
    for (int64_t t = 0; t < samples[n].length(); ++t) {
      const auto row = batch.plan.offsets[n] + t;
      EXPECT_EQ(batch.tokens_T[row].item<int64_t>(), samples[n].tokens[static_cast<size_t>(t)]);
      EXPECT_EQ(batch.targets_T[row].item<int64_t>(), samples[n].targets[static_cast<size_t>(t)]);
      EXPECT_EQ(batch.segments_T[row].item<int64_t>(), samples[n].segments[static_cast<size_t>(t)]);
      EXPECT_EQ(batch.plan.positions_T[row].item<int64_t>(), t);
      const bool labelled = t == 1;
      EXPECT_FLOAT_EQ(batch.labels.skill_weight_T[row].item<float>(), labelled ? 0.5f : 0.0f);
      EXPECT_FLOAT_EQ(batch.labels.stage_TG[row].sum().item<float>(), labelled ? 1.0f : 0.0f);
      EXPECT_FLOAT_EQ(batch.labels.skill_TS[row][static_cast<int64_t>(n % 2)].item<float>(),
                      labelled ? 1.0f : 0.0f);
    }
    EXPECT_NEAR(batch.pixels_BCHW[static_cast<int64_t>(n)].mean().item<double>(),
                10.0 * static_cast<double>(n) / 255, 1e-5);
  }
  EXPECT_EQ(batch.pixels_BCHW.sizes(), (std::vector<int64_t>{4, 3, 4, 8}));
  EXPECT_EQ(batch.labels.stage_TG.sizes(), (std::vector<int64_t>{18, 2}));
  EXPECT_EQ(batch.labels.skill_TS.sizes(), (std::vector<int64_t>{18, 3}));
  EXPECT_FALSE(batch.region_BPC.defined());
}

TEST(Batch, RegionTargetsAreByImageAndPatch) {
  const Pictures pictures(4);
  const Batch batch = first_batch(pictures, RegionGrid{{"cone", "car"}, 2, 4});
  ASSERT_EQ(batch.region_BPC.sizes(), (std::vector<int64_t>{4, 8, 2}));
  EXPECT_EQ(batch.region_BPC.sum().item<float>(), 8);
  EXPECT_EQ(batch.region_BPC.select(0, 2).select(1, 1).sum().item<float>(), 8);
}

// The columns of [K, N] as a sorted list, since their order means nothing.
std::vector<std::vector<int64_t>> tuples_of(const torch::Tensor& tuples_KN) {
  std::vector<std::vector<int64_t>> out;
  for (int64_t i = 0; i < tuples_KN.size(1); ++i) {
    const auto column = tuples_KN.select(1, i).contiguous();
    out.emplace_back(column.data_ptr<int64_t>(), column.data_ptr<int64_t>() + column.numel());
  }
  std::sort(out.begin(), out.end());
  return out;
}
using Tuples = std::vector<std::vector<int64_t>>;

TEST(Batch, WordsStandAtTheRowsOfTheirObjects) {
  const Pictures pictures(4);
  // 2 x 4 patches merged into 1 x 2 rows an image; the object of sample 2 covers the whole picture.
  const Batch batch = first_batch(pictures, RegionGrid{{}, 2, 4, 2}, /*text_only=*/1);
  EXPECT_EQ(tuples_of(batch.row_words_3N), (Tuples{{1, 0, 11}, {1, 0, 12}, {1, 1, 11}, {1, 1, 12}}));
  EXPECT_EQ(tuples_of(batch.scene_words_2N), (Tuples{{0, 5}, {1, 6}, {1, 7}}));
  const Batch part = slice_samples(batch, 2, 4);
  EXPECT_EQ(tuples_of(part.row_words_3N), (Tuples{{0, 0, 11}, {0, 0, 12}, {0, 1, 11}, {0, 1, 12}}));
  EXPECT_EQ(tuples_of(part.scene_words_2N), (Tuples{{0, 6}, {0, 7}}));
  EXPECT_EQ(slice_samples(batch, 0, 2).row_words_3N.numel(), 0);
}

void expect_same(const torch::Tensor& a, const torch::Tensor& b) {
  ASSERT_EQ(a.defined(), b.defined());
  EXPECT_TRUE(!a.defined() || torch::equal(a, b));
}

TEST(SliceSamples, IsTheBatchOfThoseSamples) {
  const Pictures pictures(4);
  const Batch batch = first_batch(pictures, RegionGrid{{"cone", "car"}, 2, 4}, /*text_only=*/1);
  EXPECT_EQ(batch.images, (std::vector<int64_t>{1, 0, 1, 1}));
  EXPECT_EQ(batch.pixels_BCHW.size(0), 3);
  const Batch part = slice_samples(batch, 1, 3);
  EXPECT_EQ(part.ids, (std::vector<std::string>{"sample_1", "sample_2"}));
  EXPECT_EQ(part.plan.offsets, (std::vector<int64_t>{0, 4, 9}));
  EXPECT_EQ(part.plan.longest, 5);
  EXPECT_EQ(part.samples, 2);
  EXPECT_EQ(part.supervised, 4);
  expect_same(part.plan.positions_T, torch::tensor({0, 1, 2, 3, 0, 1, 2, 3, 4}, torch::kInt64));
  expect_same(part.tokens_T, batch.tokens_T.slice(0, 3, 12));
  expect_same(part.targets_T, batch.targets_T.slice(0, 3, 12));
  expect_same(part.labels.skill_TS, batch.labels.skill_TS.slice(0, 3, 12));
  expect_same(part.labels.stage_weight_T, batch.labels.stage_weight_T.slice(0, 3, 12));
  expect_same(part.pixels_BCHW, batch.pixels_BCHW.slice(0, 1, 2));
  expect_same(part.region_BPC, batch.region_BPC.slice(0, 1, 2));
  EXPECT_FALSE(slice_samples(batch, 1, 2).pixels_BCHW.defined()) << "a text-only sample";
  EXPECT_THROW(slice_samples(batch, 2, 2), Error);
  EXPECT_THROW(slice_samples(batch, 0, 5), Error);
}

TEST(ToDevice, KeepsEveryField) {
  const Pictures pictures(4);
  const Batch batch = first_batch(pictures);
  const Batch moved = to_device(batch, torch::kCPU);
  EXPECT_EQ(moved.ids, batch.ids);
  EXPECT_EQ(moved.plan.offsets, batch.plan.offsets);
  EXPECT_EQ(moved.supervised, batch.supervised);
  expect_same(moved.tokens_T, batch.tokens_T);
  expect_same(moved.pixels_BCHW, batch.pixels_BCHW);
  expect_same(moved.labels.stage_TG, batch.labels.stage_TG);
}

}  // namespace
}  // namespace mose::data
