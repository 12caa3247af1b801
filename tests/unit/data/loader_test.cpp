// Prefetching, resuming, bad images and the blind control.
#include "mose/data/loader.h"

#include <gmock/gmock.h>

#include "fixture.h"
#include "mose/core/error.h"
#include "mose/core/files.h"

namespace mose::data {
namespace {

using ::testing::HasSubstr;

Loader make_loader(const Pictures& pictures, const LoaderConfig& config, int64_t samples = 10) {
  return Loader(make_samples(samples), pictures.dir(), small_frame(), config, kSizes, 1);
}

void expect_same(const Batch& a, const Batch& b) {
  ASSERT_EQ(a.ids, b.ids);
  EXPECT_TRUE(torch::equal(a.tokens_T, b.tokens_T));
  EXPECT_TRUE(torch::equal(a.targets_T, b.targets_T));
  EXPECT_TRUE(torch::equal(a.labels.skill_TS, b.labels.skill_TS));
  EXPECT_TRUE(torch::equal(a.pixels_BCHW, b.pixels_BCHW));
}

TEST(Loader, BatchesDoNotDependOnWorkersPrefetchOrCache) {
  const Pictures pictures(10);
  LoaderConfig synchronous = loader_config(3, 0);
  synchronous.augment_brightness = 0.3;
  LoaderConfig threaded = synchronous;
  threaded.workers = 4;
  threaded.prefetch = 7;
  threaded.cache_mb = 0;
  Loader a = make_loader(pictures, synchronous), b = make_loader(pictures, threaded);
  for (int step = 0; step < 12; ++step) expect_same(a.next(), b.next());
  EXPECT_EQ(a.epoch(), 3);
  EXPECT_EQ(a.batch_in_epoch(), 0);
  EXPECT_EQ(a.batches_in_epoch(0), 4);
}

TEST(Loader, ResumingContinuesWithTheVerySameBatches) {
  const Pictures pictures(10);
  for (const int64_t workers : {0, 3}) {
    LoaderConfig config = loader_config(3, workers);
    config.augment_brightness = 0.3;
    config.length_bucketing = true;
    for (int taken = 0; taken < 9; ++taken) {
      Loader first = make_loader(pictures, config);
      for (int step = 0; step < taken; ++step) first.next();
      const Json saved = parse_json(first.state().dump(), "state");
      Loader second = make_loader(pictures, config);
      second.next();  // a loader that is already running
      second.set_state(saved);
      EXPECT_EQ(second.state(), saved);
      for (int step = 0; step < 6; ++step) expect_same(first.next(), second.next());
    }
  }
}

TEST(Loader, StateOfOtherDataIsADataError) {
  const Pictures pictures(10);
  Loader loader = make_loader(pictures, loader_config(3));
  const Json saved = loader.state();
  Loader other_batch = make_loader(pictures, loader_config(4));
  EXPECT_THROW(other_batch.set_state(saved), DataError);
  Loader other_samples = make_loader(pictures, loader_config(3), 9);
  EXPECT_THROW(other_samples.set_state(saved), DataError);
  Json beyond = saved;
  beyond["batch"] = 4;
  EXPECT_THROW(loader.set_state(beyond), DataError);
  Json missing = saved;
  missing.erase("epoch");
  EXPECT_THROW(loader.set_state(missing), DataError);
  LoaderConfig other_workers = loader_config(3, 1);
  Loader same = make_loader(pictures, other_workers);
  EXPECT_NO_THROW(same.set_state(saved)) << "threads do not change the batches";
}

TEST(Loader, BadImageStopsAndNamesSampleAndFile) {
  const Pictures pictures(4);
  write_file(pictures.dir() / "2.png", "not a picture");
  for (const int64_t workers : {0, 2}) {
    LoaderConfig config = loader_config(2, workers);
    config.shuffle = false;
    Loader loader = make_loader(pictures, config, 4);
    EXPECT_EQ(loader.next().samples, 2);
    try {
      loader.next();
      FAIL() << "no error";
    } catch (const DataError& error) {
      EXPECT_THAT(error.what(), HasSubstr("sample_2"));
      EXPECT_THAT(error.what(), HasSubstr("2.png"));
    }
  }
}

TEST(Loader, BadImagesMayBeSkippedAndAreCounted) {
  const Pictures pictures(4);
  write_file(pictures.dir() / "2.png", "not a picture");
  std::filesystem::remove(pictures.dir() / "3.png");
  LoaderConfig config = loader_config(3);
  config.shuffle = false;
  config.on_bad_sample = "skip";
  config.last_batch = "keep";
  Loader loader = make_loader(pictures, config, 4);
  EXPECT_EQ(loader.next().ids, (std::vector<std::string>{"sample_0", "sample_1"}));
  EXPECT_EQ(loader.skipped(), 1);
  // The epoch's second batch has only the missing picture: its place stays, so that no other moves.
  EXPECT_EQ(loader.next().samples, 0);
  EXPECT_EQ(loader.next().ids, (std::vector<std::string>{"sample_0", "sample_1"}));
  EXPECT_EQ(loader.skipped(), 3);
  EXPECT_EQ(loader.state()["skipped"], 3);
}

TEST(Loader, NothingReadableIsAnErrorAndNotALoop) {
  const Pictures pictures(0);
  LoaderConfig config = loader_config(2);
  config.on_bad_sample = "skip";
  Loader loader = make_loader(pictures, config, 4);
  const auto two_epochs = [&] {
    for (int i = 0; i < 4; ++i) EXPECT_EQ(loader.next().samples, 0);
  };
  EXPECT_THROW(two_epochs(), DataError);
}

TEST(Loader, BlindControlNeverReadsAPicture) {
  const Pictures pictures(0);
  LoaderConfig config = loader_config(4);
  config.blind = true;
  Loader loader = make_loader(pictures, config, 4);
  const Batch batch = loader.next();
  EXPECT_EQ(batch.pixels_BCHW.sizes(), (std::vector<int64_t>{4, 3, 4, 8}));
  EXPECT_EQ(batch.pixels_BCHW.abs().sum().item<float>(), 0);
}

TEST(Loader, BrightnessDiffersByEpochAndStaysInRange) {
  const Pictures pictures(10);
  LoaderConfig config = loader_config(10);
  config.shuffle = false;
  config.augment_brightness = 0.2;
  Loader loader = make_loader(pictures, config);
  const Batch first = loader.next(), second = loader.next();
  for (int64_t i = 1; i < 10; ++i) {
    const double plain = 10.0 * static_cast<double>(i) / 255;
    const double a = first.pixels_BCHW[i].mean().item<double>();
    const double b = second.pixels_BCHW[i].mean().item<double>();
    EXPECT_GE(a, plain * 0.8 - 1e-5);
    EXPECT_LE(a, plain * 1.2 + 1e-5);
    EXPECT_NE(a, b) << "sample " << i;
  }
}

TEST(Loader, EmptyDataAndAGridWithoutPatchesAreUsageErrors) {
  const Pictures pictures(1);
  EXPECT_THROW(make_loader(pictures, loader_config(1), 0), UsageError);
  EXPECT_THROW(Loader(make_samples(1), pictures.dir(), small_frame(), loader_config(1), kSizes, 1,
                      RegionGrid{{"car"}, 0, 4}),
               UsageError);
}

}  // namespace
}  // namespace mose::data
