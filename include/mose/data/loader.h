// Batches of encoded samples in an order that a seed fixes, prefetched by threads, resumable exactly.
//
//   Loader loader(samples, root, preprocess, config, sizes, seed);
//   for (...) { Batch batch = loader.next(); ... }
//   save(loader.state());                   // the position after the batches that next() returned
//   other.set_state(saved);                 // goes on with the very same batches
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "mose/core/config.h"
#include "mose/data/batch.h"
#include "mose/data/encode.h"
#include "mose/data/feature_store.h"
#include "mose/data/region_grid.h"
#include "mose/vision/preprocess.h"

namespace mose::data {

struct LoaderConfig {
  int64_t batch_samples = 16;
  int64_t batch_tokens = 0;
  int64_t workers = 1;
  int64_t prefetch = 4;
  double cache_mb = 1024;
  Json mix = Json::object();  // {"scene": 1, "region_perception": 0.5}; a task not named has weight 1
  bool shuffle = true;
  bool length_bucketing = false;
  std::string last_batch = "fill";
  std::string on_bad_sample = "stop";
  bool blind = false;
  double augment_brightness = 0;
  bool pin_memory = true;

  void visit(FieldVisitor& v);
};

// Columns of the batch's labels.
struct LabelSizes {
  int64_t stages = 0, skills = 0;
};

// Which batches a process builds: of every world * batches consecutive ones the `rank`-th `batches`.
struct Shard {
  int64_t rank = 0, world = 1, batches = 1;
};

class Loader {
 public:
  // UsageError on a mix that names an unknown task or leaves no sample, and on a batch_tokens that a
  // sample exceeds. With `features` batches hold those in place of pixels; images must then be seen as they are
  // (UsageError on `blind` or `augment_brightness`).
  Loader(std::vector<Encoded> samples, std::filesystem::path root,
         vision::PreprocessConfig preprocess, LoaderConfig config, LabelSizes sizes, uint64_t seed,
         RegionGrid grid = {}, Shard shard = {}, std::optional<FeatureCache> features = {});
  ~Loader();
  Loader(Loader&&) noexcept;
  Loader& operator=(Loader&&) noexcept;

  // The next batch of this process; epochs follow each other without end. With on_bad_sample "stop" the
  // DataError of a bad image; with "skip" its sample is left out, counted and logged, and a batch may have no
  // samples. DataError when a whole epoch's batches had none.
  Batch next();

  // A checkpoint of the position: what next() has returned, not what was prefetched. The same for every process:
  // Error where a process has taken only a part of its `batches`.
  Json state() const;
  // DataError when the state was saved over other samples, another seed or another batching.
  void set_state(const Json& state);

  int64_t epoch() const;            // of the batch that next() returns next, from 0
  int64_t batch_in_epoch() const;   // its index in that epoch
  int64_t batches_in_epoch(int64_t epoch) const;
  int64_t samples() const;
  int64_t skipped() const;          // bad samples that this process left out so far, repeats included
  double wait_seconds() const;      // time that next() has waited for a batch

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace mose::data
