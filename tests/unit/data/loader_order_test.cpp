// Which samples come in which batch.
#include <gmock/gmock.h>

#include <map>

#include "fixture.h"
#include "mose/core/error.h"

namespace mose::data {
namespace {

using ::testing::HasSubstr;
using Ids = std::vector<std::string>;

// Text-only samples: order does not depend on pictures.
std::vector<Encoded> without_images(std::vector<Encoded> samples) {
  for (Encoded& sample : samples) sample.image.clear();
  return samples;
}

Loader make_loader(std::vector<Encoded> samples, const LoaderConfig& config, uint64_t seed = 1,
                   Shard shard = {}) {
  return Loader(without_images(std::move(samples)), ".", small_frame(), config, kSizes, seed, {}, shard);
}

std::vector<Ids> epoch_of(Loader& loader) {
  std::vector<Ids> batches;
  const int64_t epoch = loader.epoch();
  while (loader.epoch() == epoch) batches.push_back(loader.next().ids);
  return batches;
}

std::map<std::string, int> counts(const std::vector<Ids>& batches) {
  std::map<std::string, int> counts;
  for (const Ids& batch : batches) {
    for (const std::string& id : batch) ++counts[id];
  }
  return counts;
}

TEST(LoaderOrder, EachEpochHoldsEverySampleInANewOrder) {
  Loader loader = make_loader(make_samples(12), loader_config(4));
  const auto first = epoch_of(loader), second = epoch_of(loader);
  EXPECT_EQ(first.size(), 3u);
  EXPECT_EQ(counts(first).size(), 12u);
  EXPECT_EQ(counts(first), counts(second));
  EXPECT_NE(first, second);
}

TEST(LoaderOrder, IsAFunctionOfTheSeed) {
  Loader a = make_loader(make_samples(12), loader_config(4), 5);
  Loader b = make_loader(make_samples(12), loader_config(4), 5);
  Loader c = make_loader(make_samples(12), loader_config(4), 6);
  const auto first = epoch_of(a);
  EXPECT_EQ(first, epoch_of(b));
  EXPECT_NE(first, epoch_of(c));
}

TEST(LoaderOrder, WithoutShufflingKeepsTheDatasOrder) {
  LoaderConfig config = loader_config(2);
  config.shuffle = false;
  Loader loader = make_loader(make_samples(4), config);
  EXPECT_EQ(epoch_of(loader), (std::vector<Ids>{{"sample_0", "sample_1"}, {"sample_2", "sample_3"}}));
}

TEST(LoaderOrder, AnIncompleteLastBatchIsFilledKeptOrDropped) {
  LoaderConfig config = loader_config(4);
  config.shuffle = false;
  const auto last_sizes = [&](const char* policy, int64_t samples) {
    config.last_batch = policy;
    Loader loader = make_loader(make_samples(samples), config);
    std::vector<size_t> sizes;
    for (const Ids& batch : epoch_of(loader)) sizes.push_back(batch.size());
    return sizes;
  };
  EXPECT_EQ(last_sizes("fill", 6), (std::vector<size_t>{4, 4}));
  EXPECT_EQ(last_sizes("keep", 6), (std::vector<size_t>{4, 2}));
  EXPECT_EQ(last_sizes("drop", 6), (std::vector<size_t>{4}));
  for (const char* policy : {"fill", "keep", "drop"}) {
    EXPECT_EQ(last_sizes(policy, 8), (std::vector<size_t>{4, 4})) << policy;
    EXPECT_EQ(last_sizes(policy, 3), (std::vector<size_t>{3})) << policy;
  }
  config.last_batch = "fill";
  Loader loader = make_loader(make_samples(6), config);
  EXPECT_EQ(epoch_of(loader)[1], (Ids{"sample_4", "sample_5", "sample_0", "sample_1"}));
}

TEST(LoaderOrder, TokenLimitBoundsTheRowsOfABatch) {
  LoaderConfig config = loader_config(100);
  config.batch_tokens = 12;
  config.last_batch = "keep";
  Loader loader = make_loader(make_samples(20), config);
  int64_t samples = 0;
  while (loader.epoch() == 0) {
    const Batch batch = loader.next();
    EXPECT_LE(batch.plan.tokens(), 12);
    samples += batch.samples;
  }
  EXPECT_EQ(samples, 20);
  config.batch_tokens = 5;  // samples have up to 6 rows
  EXPECT_THROW(make_loader(make_samples(20), config), UsageError);
}

TEST(LoaderOrder, LengthBucketingPutsSimilarLengthsTogether) {
  const auto spread = [](bool bucketing) {
    std::vector<Encoded> samples;
    for (int64_t i = 0; i < 64; ++i) samples.push_back(make_encoded(i, 3 + (i * 37) % 61));
    LoaderConfig config = loader_config(8);
    config.length_bucketing = bucketing;
    Loader loader = make_loader(std::move(samples), config);
    int64_t total = 0, seen = 0;
    while (loader.epoch() == 0) {
      const Batch batch = loader.next();
      int64_t shortest = batch.plan.longest;
      for (size_t n = 0; n < 8; ++n) {
        shortest = std::min(shortest, batch.plan.offsets[n + 1] - batch.plan.offsets[n]);
      }
      total += batch.plan.longest - shortest;
      seen += batch.samples;
    }
    EXPECT_EQ(seen, 64);
    return total;
  };
  EXPECT_LT(spread(true) * 4, spread(false));
}

TEST(LoaderOrder, MixSetsHowOftenATaskComes) {
  std::vector<Encoded> samples;
  for (int64_t i = 0; i < 10; ++i) samples.push_back(make_encoded(i, 4, "scene"));
  for (int64_t i = 10; i < 20; ++i) samples.push_back(make_encoded(i, 4, "region_perception"));
  for (int64_t i = 20; i < 24; ++i) samples.push_back(make_encoded(i, 4, "general_perception"));
  LoaderConfig config = loader_config(5);
  config.mix = Json{{"region_perception", 0.5}, {"general_perception", 2}};
  config.last_batch = "keep";
  Loader loader = make_loader(samples, config);
  const auto first = counts(epoch_of(loader)), second = counts(epoch_of(loader));
  int regions = 0;
  bool same_half = true;
  for (int64_t i = 0; i < 24; ++i) {
    const std::string id = "sample_" + std::to_string(i);
    const int found = first.contains(id) ? first.at(id) : 0;
    if (i >= 10 && i < 20) {
      regions += found;
      same_half = same_half && first.contains(id) == second.contains(id);
    } else {
      EXPECT_EQ(found, i < 10 ? 1 : 2) << id;
    }
  }
  EXPECT_EQ(regions, 5);
  EXPECT_FALSE(same_half) << "each epoch draws its own half";
}

TEST(LoaderOrder, MixThatMakesNoSenseIsAUsageError) {
  LoaderConfig config = loader_config(2);
  config.mix = Json{{"scnee", 1}};
  try {
    make_loader(make_samples(4), config);
    FAIL() << "no error";
  } catch (const UsageError& error) {
    EXPECT_THAT(error.what(), HasSubstr("scene"));
  }
  config.mix = Json{{"scene", -1}};
  EXPECT_THROW(make_loader(make_samples(4), config), UsageError);
  config.mix = Json{{"scene", 0}};
  EXPECT_THROW(make_loader(make_samples(4), config), UsageError);
}

TEST(LoaderOrder, ProcessesDivideTheBatchesAmongThem) {
  for (const int64_t workers : {0, 2}) {
    auto config = loader_config(5);
    config.workers = workers;
    for (const int64_t each : {1, 2}) {
      Loader whole = make_loader(make_samples(13), config);
      std::vector<Loader> parts;
      for (int64_t rank = 0; rank < 3; ++rank) parts.push_back(make_loader(make_samples(13), config, 1, {rank, 3, each}));
      for (int step = 0; step < 6; ++step) {
        for (Loader& part : parts) {
          for (int64_t i = 0; i < each; ++i) EXPECT_EQ(part.next().ids, whole.next().ids);
        }
        for (Loader& part : parts) EXPECT_EQ(part.state(), whole.state());
      }
    }
  }
}

TEST(LoaderOrder, AStateServesAnyNumberOfProcesses) {
  Loader two = make_loader(make_samples(13), loader_config(5), 1, {1, 2, 3});
  for (int i = 0; i < 3; ++i) two.next();
  Loader whole = make_loader(make_samples(13), loader_config(5));
  for (int i = 0; i < 6; ++i) whole.next();
  Loader resumed = make_loader(make_samples(13), loader_config(5));
  resumed.set_state(two.state());
  for (int i = 0; i < 5; ++i) EXPECT_EQ(resumed.next().ids, whole.next().ids);
  two.next();
  EXPECT_THROW(two.state(), Error);  // in the middle of what the process takes of a step
}

}  // namespace
}  // namespace mose::data
