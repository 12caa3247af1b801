#include "mose/data/loader.h"

#include <algorithm>
#include <chrono>
#include <condition_variable>
#include <deque>
#include <exception>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "data/collate.h"
#include "data/epoch_order.h"
#include "data/image_cache.h"
#include "data/feature_reader.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::data {
namespace {

// Where the stream of batches stands: batch `index` of `epoch`.
struct Position {
  int64_t epoch = 0, index = 0;
};

// One batch, or why there is none.
struct Built {
  Batch batch;  // samples == 0 when every sample was skipped
  std::vector<KeyedImage> images;  // of the batch, where it gets features
  std::vector<std::string> skipped;
  std::exception_ptr error;
};

// Everything that decides which batches come out.
std::string fingerprint(const std::vector<Encoded>& samples, const LoaderConfig& config,
                        uint64_t seed) {
  Sha256 hash;
  for (const Encoded& sample : samples) {
    hash.update(str(sample.id, "\n", sample.task, "\n", sample.length(), "\n"));
  }
  hash.update(str(config.batch_samples, " ", config.batch_tokens, " ", config.mix.dump(), " ",
                  config.shuffle, " ", config.length_bucketing, " ", config.last_batch, " ", seed));
  return hash.hex().substr(0, 16);
}

}  // namespace

void LoaderConfig::visit(FieldVisitor& v) {
  v.field("batch_samples", batch_samples, "most samples a batch", 1, 1 << 20);
  v.field("batch_tokens", batch_tokens, "most rows a batch; 0 sets no limit", 0,
          1 << 30);
  v.field("workers", workers, "threads that build batches ahead; 0 builds each when it is asked for", 0,
          256);
  v.field("prefetch", prefetch, "batches built ahead", 1, 1024);
  v.field("cache_mb", cache_mb, "memory for decoded images, in MiB", 0, 1 << 30);
  v.field("mix", mix,
          "how often a task's samples occur in an epoch, by task (0.5: a random half); 1 when not named");
  v.field("shuffle", shuffle, "a new order each epoch; false keeps the order of the data");
  v.field("length_bucketing", length_bucketing, "batches of samples of similar length");
  v.field("last_batch", last_batch,
          "an epoch's incomplete last batch: fill it with the epoch's first samples, keep it, drop it",
          {"fill", "keep", "drop"});
  v.field("on_bad_sample", on_bad_sample, "on an unreadable image: stop, or skip its sample and count it",
          {"stop", "skip"});
  v.field("blind", blind, "control: every image is replaced by the mean colour");
  v.field("augment_brightness", augment_brightness,
          "brightness is multiplied by a factor drawn from 1 - a to 1 + a", 0, 0.9);
  v.field("pin_memory", pin_memory, "batches in page-locked memory, from which a GPU copies beside its work");
}

struct Loader::Impl {
  const std::vector<Encoded> samples;
  const vision::PreprocessConfig preprocess;
  const LoaderConfig config;
  const LabelSizes sizes;
  const uint64_t seed;
  const RegionGrid grid;
  const Shard shard;
  const OrderInput input;
  const std::string identity;
  ImageCache cache;
  std::optional<FeatureReader> features;

  // What next() has returned: all processes' batches before `round`, and of this one's `taken` more.
  Position round;
  int64_t taken = 0;
  int64_t started = 0, readable = -1;  // the first epoch, and the last with a batch of samples
  int64_t skipped = 0;
  double waited = 0;

  // Shared with the threads, under `mutex`. Batches are numbered from the last start.
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::map<int64_t, Built> ready;
  std::map<int64_t, std::shared_ptr<const EpochOrder>> orders;
  Position to_build;
  int64_t building_of_round = 0, building = 0, consumed = 0;
  bool stopping = false;
  std::vector<std::thread> threads;

  Impl(std::vector<Encoded> samples_, std::filesystem::path root,
       vision::PreprocessConfig preprocess_, LoaderConfig config_, LabelSizes sizes_,
       uint64_t seed_, RegionGrid grid_, Shard shard_, std::optional<FeatureCache> features_)
      : samples(std::move(samples_)), preprocess(std::move(preprocess_)), config(std::move(config_)),
        sizes(sizes_), seed(seed_), grid(std::move(grid_)), shard(shard_),
        input(order_input(samples, config.mix)), identity(fingerprint(samples, config, seed)),
        cache(root, preprocess, config.cache_mb) {
    if (features_) features.emplace(std::move(root), preprocess, std::move(*features_));
    check();
  }
  ~Impl() { stop(); }

  void check() const {
    if (samples.empty()) throw UsageError("loader: no samples");
    if (shard.world < 1 || shard.rank < 0 || shard.rank >= shard.world || shard.batches < 1) {
      throw UsageError(str("loader: ", shard.batches, " batches for rank ", shard.rank, " of ", shard.world, " processes"));
    }
    if (!grid.categories.empty() && grid.patches() < 1) {
      throw UsageError("loader: region categories without a grid of patches");
    }
    if (features && (config.blind || config.augment_brightness > 0)) {
      throw UsageError("loader: features of images that are replaced (blind) or changed (augment_brightness)");
    }
    for (const Encoded& sample : samples) {
      if (config.batch_tokens > 0 && sample.length() > config.batch_tokens) {
        throw UsageError(str("loader: sample ", sample.id, " has ", sample.length(),
                             " rows, batch_tokens is ", config.batch_tokens));
      }
    }
    if (epoch_order(input, config, seed, 0).empty()) {
      throw UsageError(str("loader: mix ", config.mix.dump(), " leaves no sample"));
    }
    warn_of_other_categories();
  }

  void warn_of_other_categories() const {
    if (grid.categories.empty()) return;
    std::set<std::string> others;
    for (const Encoded& sample : samples) {
      for (const skills::RegionTarget& object : sample.objects) {
        const auto& known = grid.categories;
        if (std::find(known.begin(), known.end(), object.category) == known.end()) {
          others.insert(object.category);
        }
      }
    }
    if (others.empty()) return;
    log::warn("categories without a region target: ",
              join(std::vector<std::string>(others.begin(), others.end()), ", "));
  }

  // Call with the mutex held. Only the epochs around the current one are asked for again and again.
  std::shared_ptr<const EpochOrder> order(int64_t epoch) {
    const auto found = orders.find(epoch);
    if (found != orders.end()) return found->second;
    if (orders.size() >= 4) orders.clear();
    return orders[epoch] = std::make_shared<const EpochOrder>(epoch_order(input, config, seed, epoch));
  }

  Position after(Position at, int64_t batches) {
    at.index += batches;
    for (int64_t size; at.index >= (size = static_cast<int64_t>(order(at.epoch)->size())); ++at.epoch) at.index -= size;
    return at;
  }
  // The batch of this process after `taken_` others since `round`.
  Position own(const Position& round, int64_t taken_) { return after(round, shard.rank * shard.batches + taken_); }

  // `images` gets the image where the batch gets features.
  Item load(const Encoded& sample, int64_t epoch, std::vector<KeyedImage>& images) {
    Item item{&sample, !sample.image.empty(), {}, {}, {}};
    if (!item.has_image) return item;
    vision::ImageSize original;
    if (features) {
      images.push_back(features->get(sample.image, sample.layout));
      original = images.back().original;
    } else if (config.blind) {
      item.tiles_NCHW = vision::mean_colour_image(preprocess).repeat({sample.layout.tiles(), 1, 1, 1});
      if (grid.patches() > 0) original = cache.size(sample.image);
    } else {
      const vision::Tiles image = cache.get(sample.image, sample.layout);
      original = image.original;
      double gain = 1;
      if (config.augment_brightness > 0) {
        RandomStream stream(seed, str("data/brightness/", epoch, "/", sample.id));
        gain = stream.uniform(1 - config.augment_brightness, 1 + config.augment_brightness);
      }
      item.tiles_NCHW = vision::normalise(image.pixels_NCHW, preprocess, gain);
    }
    if (!grid.categories.empty()) {
      item.region_PC = region_targets(sample.objects, grid, original, preprocess);
    }
    if (grid.patches() > 0) {
      for (size_t i = 0; i < sample.object_words.size(); ++i) {
        for (const int64_t row : covered_cells(sample.objects[i].box, grid.height / grid.merge,
                                               grid.width / grid.merge, original, preprocess)) {
          for (const int64_t token : sample.object_words[i]) item.row_words.emplace_back(row, token);
        }
      }
    }
    return item;
  }

  void take_features(Built& built) {
    if (!built.images.empty()) built.batch.features_BPD = features->complete(built.images);
    built.images.clear();
  }

  Built build(const EpochOrder& order, const Position& at) {
    Built built;
    try {
      std::vector<Item> items;
      for (const int32_t index : order[static_cast<size_t>(at.index)]) {
        const Encoded& sample = samples[static_cast<size_t>(index)];
        try {
          items.push_back(load(sample, at.epoch, built.images));
        } catch (const DataError& error) {
          if (config.on_bad_sample != "skip") throw DataError(str("sample ", sample.id, ": ", error.what()));
          built.skipped.push_back(str("sample ", sample.id, ": ", error.what()));
        }
      }
      if (!items.empty()) built.batch = collate(items, sizes);
      if (config.pin_memory && at::hasCUDA()) built.batch = pinned(built.batch);
      const auto& images = built.images;
      if (std::all_of(images.begin(), images.end(), [](const auto& image) { return image.features_NPD.defined(); })) take_features(built);
    } catch (...) {
      built.error = std::current_exception();
    }
    return built;
  }

  // Call with the mutex held.
  void start() {
    to_build = own(round, taken);
    building_of_round = taken;
    building = consumed = 0;
    ready.clear();
    stopping = false;
    for (int64_t i = 0; i < config.workers; ++i) threads.emplace_back([this] { work(); });
  }

  void stop() {
    {
      const std::lock_guard lock(mutex);
      stopping = true;
    }
    changed.notify_all();
    for (std::thread& thread : threads) thread.join();
    threads.clear();
  }

  void work() {
    std::unique_lock lock(mutex);
    for (;;) {
      changed.wait(lock, [&] { return stopping || building < consumed + config.prefetch; });
      if (stopping) return;
      const int64_t number = building++;
      const Position at = to_build;
      const std::shared_ptr<const EpochOrder> batches = order(at.epoch);
      const bool last = ++building_of_round == shard.batches;
      to_build = after(at, last ? 1 + (shard.world - 1) * shard.batches : 1);
      if (last) building_of_round = 0;
      lock.unlock();
      Built built = build(*batches, at);
      lock.lock();
      ready.emplace(number, std::move(built));
      changed.notify_all();
    }
  }

  Built take() {
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex);
    Built built;
    if (config.workers == 0) {
      const Position at = own(round, taken);
      built = build(*order(at.epoch), at);
    } else {
      if (threads.empty()) start();
      changed.wait(lock, [&] { return ready.contains(consumed); });
      built = std::move(ready.extract(consumed).mapped());
      ++consumed;
      changed.notify_all();
    }
    if (++taken == shard.batches) {
      round = after(round, shard.world * shard.batches);
      taken = 0;
    }
    waited += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    return built;
  }

  Batch next() {
    const int64_t epoch = round.epoch;
    Built built = take();
    if (built.error) std::rethrow_exception(built.error);
    take_features(built);  // those that have to be computed: here, in the thread that uses the model
    for (const std::string& message : built.skipped) {
      log::warn("skipped ", message);
      ++skipped;
    }
    if (built.batch.samples > 0) {
      readable = epoch;
    } else if (round.epoch > std::max(readable, started) + 1) {
      throw DataError(str("no sample of a whole epoch could be read; ", skipped, " were skipped"));
    }
    return std::move(built.batch);
  }
};

Loader::Loader(std::vector<Encoded> samples, std::filesystem::path root,
               vision::PreprocessConfig preprocess, LoaderConfig config, LabelSizes sizes,
               uint64_t seed, RegionGrid grid, Shard shard, std::optional<FeatureCache> features)
    : impl_(std::make_unique<Impl>(std::move(samples), std::move(root), std::move(preprocess),
                                   std::move(config), sizes, seed, std::move(grid), shard, std::move(features))) {}

Loader::~Loader() = default;
Loader::Loader(Loader&&) noexcept = default;
Loader& Loader::operator=(Loader&&) noexcept = default;

Batch Loader::next() { return impl_->next(); }

Json Loader::state() const {
  if (impl_->taken != 0) throw Error(str("loader: state after ", impl_->taken, " of ", impl_->shard.batches, " batches"));
  return Json{{"epoch", impl_->round.epoch},
              {"batch", impl_->round.index},
              {"skipped", impl_->skipped},
              {"data", impl_->identity}};
}

void Loader::set_state(const Json& state) {
  const std::string where = "loader state";
  if (json_string(state, "data", where) != impl_->identity) {
    throw DataError("loader state: it was saved over other samples, another seed, mix or batch size");
  }
  const Position position{json_int(state, "epoch", where), json_int(state, "batch", where)};
  const int64_t skipped = json_int(state, "skipped", where);
  if (position.epoch < 0 || position.index < 0 ||
      position.index >= batches_in_epoch(position.epoch)) {
    throw DataError(str("loader state: no batch ", position.index, " in epoch ", position.epoch));
  }
  impl_->stop();
  impl_->round = position;
  impl_->taken = 0;
  impl_->started = position.epoch;
  impl_->readable = -1;
  impl_->skipped = skipped;
}

int64_t Loader::epoch() const { return impl_->round.epoch; }
int64_t Loader::batch_in_epoch() const { return impl_->round.index; }
int64_t Loader::batches_in_epoch(int64_t epoch) const {
  const std::lock_guard lock(impl_->mutex);
  return static_cast<int64_t>(impl_->order(epoch)->size());
}
int64_t Loader::samples() const { return static_cast<int64_t>(impl_->samples.size()); }
int64_t Loader::skipped() const { return impl_->skipped; }
double Loader::wait_seconds() const { return impl_->waited; }

}  // namespace mose::data
