// Features of a frozen tower: the files, and batches that hold them.
#include <gmock/gmock.h>
#include <sys/resource.h>

#include <atomic>
#include <csignal>
#include <thread>

#include "data/feature_reader.h"
#include "fixture.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/data/feature_store.h"
#include "mose/vision/anyres.h"
#include "support/helpers.h"

namespace mose::data {
namespace {

using ::testing::HasSubstr;
using torch::Tensor;

const std::string kKey(64, 'a');

TEST(FeatureStore, GivesBackWhatWasPutBitForBit) {
  const TemporaryFolder folder;
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    FeatureStore store(folder.path / c10::toString(type));
    EXPECT_FALSE(store.find(kKey).defined());
    const Tensor features = torch::randn({2, 3, 5}).to(type);
    store.put(kKey, features);
    FeatureStore other(folder.path / c10::toString(type));  // another run
    const Tensor found = other.find(kKey);
    ASSERT_EQ(found.scalar_type(), type);
    EXPECT_TRUE(torch::equal(found, features));
    EXPECT_FALSE(other.find(std::string(64, 'b')).defined());
    EXPECT_EQ(store.written(), 1);
    EXPECT_EQ(other.read(), 1);
    EXPECT_EQ(other.damaged(), 0);
  }
}

TEST(FeatureStore, ADamagedFileIsMissingAndCounted) {
  const TemporaryFolder folder;
  FeatureStore store(folder.path);
  const Tensor features = torch::randn({2, 3, 5});
  store.put(kKey, features);
  const std::string whole = read_file(store.file(kKey));
  std::string flipped = whole;
  flipped[whole.size() - 7] ^= 1;  // a bit of the features
  int64_t damaged = 0;
  for (const std::string& bytes : {whole.substr(0, whole.size() - 1), whole.substr(0, 5), std::string(), flipped}) {
    write_file(store.file(kKey), bytes);
    EXPECT_FALSE(store.find(kKey).defined());
    EXPECT_EQ(store.damaged(), ++damaged);
    store.put(kKey, features);
    EXPECT_TRUE(torch::equal(store.find(kKey), features));
  }
  const std::string other(64, 'b');  // whole, but another key's
  std::filesystem::create_directories(store.file(other).parent_path());
  std::filesystem::copy(store.file(kKey), store.file(other));
  EXPECT_FALSE(store.find(other).defined());
}

TEST(FeatureStore, ReadersNeverSeeAPartOfAFile) {
  const TemporaryFolder folder;
  FeatureStore store(folder.path);
  const Tensor features = torch::randn({64, 1024});
  std::atomic<bool> done{false};
  int64_t found = 0;
  std::thread reader([&] {
    while (!done) found += store.find(kKey).defined() ? 1 : 0;
  });
  std::vector<std::thread> writers;
  for (int i = 0; i < 2; ++i) {
    writers.emplace_back([&] {
      for (int n = 0; n < 10; ++n) store.put(kKey, features);
    });
  }
  for (auto& writer : writers) writer.join();
  while (store.read() == 0) std::this_thread::yield();
  done = true;
  reader.join();
  EXPECT_GT(found, 0);
  EXPECT_EQ(store.damaged(), 0);
  EXPECT_EQ(std::distance(std::filesystem::directory_iterator(folder.path / "aa"), {}), 1) << "nothing is left beside";
}

TEST(FeatureStore, NoRoomIsAnErrorThatNamesTheFile) {
  const TemporaryFolder folder;
  FeatureStore store(folder.path);
  rlimit before{};
  getrlimit(RLIMIT_FSIZE, &before);
  const auto handler = std::signal(SIGXFSZ, SIG_IGN);
  const rlimit small{4096, before.rlim_max};
  setrlimit(RLIMIT_FSIZE, &small);
  const std::string message = message_of<Error>([&] { store.put(kKey, torch::zeros({4096})); });
  setrlimit(RLIMIT_FSIZE, &before);
  std::signal(SIGXFSZ, handler);
  EXPECT_THAT(message, HasSubstr(store.file(kKey).string()));
  EXPECT_FALSE(store.find(kKey).defined());
  EXPECT_TRUE(std::filesystem::is_empty(folder.path / "aa"));
  write_file(folder.path / "file", "");
  EXPECT_THAT(message_of<Error>([&] { FeatureStore(folder.path / "file"); }), HasSubstr("file"));
}

// A "tower" with features [N, 2, 3] of its tiles.
Tensor features_of(const Tensor& tiles_NCHW) {
  const Tensor mean_NC = tiles_NCHW.mean({2, 3});
  return torch::stack({mean_NC, mean_NC.square() - 1}, 1);
}

// Loaders over one folder of features, and how often their tower ran.
struct Cached {
  TemporaryFolder folder;
  int64_t images_computed = 0;
  vision::PreprocessConfig preprocess = small_frame();
  std::string tower = "tower";
  std::shared_ptr<FeatureStore> store = std::make_shared<FeatureStore>(folder.path);

  FeatureCache cache() {
    return {store, tower, [this](const Tensor& tiles) {
              ++images_computed;
              return features_of(tiles);
            }};
  }
  Loader loader(const std::vector<Encoded>& samples, const std::filesystem::path& root, const LoaderConfig& config) {
    return Loader(samples, root, preprocess, config, kSizes, 1, {}, {}, cache());
  }
};

TEST(FeatureBatches, HoldTheFeaturesOfThePixelsThatOthersHold) {
  const Pictures pictures(10);
  Cached cached;
  for (const int64_t workers : {0, 3}) {
    const LoaderConfig config = loader_config(3, workers);
    Loader pixels(make_samples(10), pictures.dir(), small_frame(), config, kSizes, 1);
    Loader features = cached.loader(make_samples(10), pictures.dir(), config);
    for (int step = 0; step < 9; ++step) {
      const Batch a = pixels.next(), b = features.next();
      ASSERT_EQ(a.ids, b.ids);
      EXPECT_TRUE(torch::equal(a.tokens_T, b.tokens_T));
      EXPECT_EQ(a.image_count(), b.image_count());
      EXPECT_FALSE(b.pixels_BCHW.defined());
      EXPECT_TRUE(torch::equal(features_of(a.pixels_BCHW), b.features_BPD));
    }
    EXPECT_EQ(cached.images_computed, 10) << "each image once, over epochs and loaders";
  }
  EXPECT_EQ(cached.store->written(), 10);
}

TEST(FeatureBatches, AreNeverOfAnotherImageTowerOrPreprocessing) {
  const Pictures pictures(4);
  Cached cached;
  const LoaderConfig config = loader_config(4, 0);
  const auto computed = [&] {
    const int64_t before = cached.images_computed;
    cached.loader(make_samples(4), pictures.dir(), config).next();
    return cached.images_computed - before;
  };
  EXPECT_EQ(computed(), 4);
  EXPECT_EQ(computed(), 0);
  // The same name, size and shape; another picture.
  cv::imwrite((pictures.dir() / "2.png").string(), cv::Mat(8, 16, CV_8UC3, cv::Scalar::all(200)));
  EXPECT_EQ(computed(), 1);
  EXPECT_EQ(computed(), 0);
  cached.tower = "with other weights";
  EXPECT_EQ(computed(), 4);
  cached.preprocess.mean = {0.5, 0.5, 0.5};
  EXPECT_EQ(computed(), 4);
  cached.preprocess.mean = {0, 0, 0};
  EXPECT_EQ(computed(), 0);
}

TEST(FeatureBatches, ADamagedFileIsComputedAgain) {
  const Pictures pictures(3);
  Cached cached;
  LoaderConfig config = loader_config(3, 1);
  config.shuffle = false;
  Loader loader = cached.loader(make_samples(3), pictures.dir(), config);
  const Tensor whole = loader.next().features_BPD;
  for (const auto& entry : std::filesystem::recursive_directory_iterator(cached.folder.path)) {
    if (entry.is_regular_file()) std::filesystem::resize_file(entry, entry.file_size() - 1);
  }
  Loader again = cached.loader(make_samples(3), pictures.dir(), config);
  EXPECT_TRUE(torch::equal(again.next().features_BPD, whole));
  EXPECT_EQ(cached.images_computed, 6);
  EXPECT_GE(cached.store->damaged(), 3);
}

TEST(FeatureBatches, AWarmCacheDecodesNothing) {
  const Pictures pictures(1);
  Cached cached;
  for (const bool warm : {false, true}) {
    FeatureReader reader(pictures.dir(), small_frame(), cached.cache());
    for (const bool again : {false, true}) {
      const KeyedImage image = reader.get("0.png", {});
      EXPECT_EQ(image.original, (vision::ImageSize{16, 8}));
      EXPECT_EQ(image.tiles_NCHW.defined(), !(warm || again));
      EXPECT_EQ(image.features_NPD.defined(), warm || again);
      if (!warm && !again) reader.complete({image});
    }
  }
  EXPECT_EQ(cached.images_computed, 1);
}

TEST(FeatureBatches, ABadPictureStopsOrIsSkipped) {
  const Pictures pictures(3);
  Cached cached;
  write_file(pictures.dir() / "1.png", read_file(pictures.dir() / "1.png").substr(0, 40));
  LoaderConfig config = loader_config(3, 0);
  EXPECT_THAT(message_of<DataError>([&] { cached.loader(make_samples(3), pictures.dir(), config).next(); }), HasSubstr("1.png"));
  config.on_bad_sample = "skip";
  Loader skipping = cached.loader(make_samples(3), pictures.dir(), config);
  const Batch batch = skipping.next();
  EXPECT_EQ(batch.samples, 2);
  EXPECT_EQ(batch.features_BPD.size(0), 2);
  EXPECT_EQ(skipping.skipped(), 1);
}

TEST(FeatureBatches, TilesAndSlices) {
  const TemporaryFolder pictures;
  cv::imwrite((pictures.path / "wide.png").string(), cv::Mat(20, 80, CV_8UC3, cv::Scalar::all(50)));
  cv::imwrite((pictures.path / "tall.png").string(), cv::Mat(30, 30, CV_8UC3, cv::Scalar::all(100)));
  const vision::Tiling tiling{{8, 4}, 2, 1, 2, {{16, 4}, {8, 8}}};
  auto samples = make_samples(4);
  for (const size_t i : {0, 2, 3}) {
    samples[i].image = i == 2 ? "tall.png" : "wide.png";
    samples[i].layout = vision::layout_file(pictures.path / samples[i].image, tiling);
  }
  samples[1].image.clear();
  LoaderConfig config = loader_config(4, 0);
  config.shuffle = false;
  Cached cached;
  const Batch plain = Loader(samples, pictures.path, small_frame(), config, kSizes, 1).next();
  for (int i = 0; i < 2; ++i) {  // cold and warm
    const Batch batch = cached.loader(samples, pictures.path, config).next();
    EXPECT_EQ(batch.images, (std::vector<int64_t>{1, 0, 1, 1}));
    ASSERT_EQ(batch.features_BPD.sizes(), (std::vector<int64_t>{9, 2, 3}));
    EXPECT_TRUE(torch::equal(batch.features_BPD, features_of(plain.pixels_BCHW)));
    EXPECT_TRUE(torch::equal(slice_samples(batch, 1, 3).features_BPD, batch.features_BPD.slice(0, 3, 6)));
    EXPECT_FALSE(slice_samples(batch, 1, 2).features_BPD.defined());
    EXPECT_TRUE(torch::equal(to_device(batch, torch::kCPU).features_BPD, batch.features_BPD));
  }
  EXPECT_EQ(cached.images_computed, 2) << "the same picture twice in a batch is computed once";
}

TEST(FeatureBatches, GoWithPicturesAsTheyAreAlone) {
  const Pictures pictures(2);
  Cached cached;
  LoaderConfig blind = loader_config(2), brighter = loader_config(2);
  blind.blind = true;
  brighter.augment_brightness = 0.1;
  for (const auto& config : {blind, brighter}) {
    EXPECT_THAT(message_of<UsageError>([&] { cached.loader(make_samples(2), pictures.dir(), config); }), HasSubstr("features"));
  }
}

}  // namespace
}  // namespace mose::data
