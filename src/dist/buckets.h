// The gradients of a model laid out in flat buckets, filled by hooks of the backward pass. What leaves with a full
// bucket is the owner's choice: a sum of all of it (GradientReducer) or of a part (ShardedAdamW).
#pragma once

#include <torch/torch.h>

#include <functional>
#include <mutex>
#include <vector>

#include "mose/dist/communicator.h"
#include "mose/optim/adamw.h"

namespace mose::dist {

struct Bucket {
  struct Slot {
    size_t parameter;      // index
    int64_t begin, size;   // elements of `flat`
    torch::Tensor view;    // as the parameter
  };
  torch::Tensor flat;       // slots at multiples of kAlign, zero between them
  std::vector<Slot> slots;
};

class GradientBuckets {
 public:
  // Slots, and parts of a bucket, begin at multiples of this many elements, so that vector code treats a
  // parameter the same whole and cut.
  static constexpr int64_t kAlign = 64;

  // A bucket holds at most `bytes`, or one parameter; its length is a multiple of `multiple` times kAlign.
  // `launch` is called for one bucket after the other, from the thread of the backward pass or of flush().
  GradientBuckets(const std::vector<optim::NamedParameter>& parameters, double bytes, int64_t multiple,
                  std::function<void(size_t bucket)> launch);
  ~GradientBuckets();

  void arm();    // the backward pass that follows is the last one before flush()
  // Launches what is left, zero where there is no gradient. Which parameters have a gradient on any process.
  std::vector<bool> flush(Communicator& group);
  std::vector<Bucket>& buckets() { return buckets_; }
  const std::vector<optim::NamedParameter>& parameters() const { return parameters_; }

 private:
  struct Place {
    size_t bucket, slot;
    bool ready = false;
  };
  void take(size_t parameter);     // the gradient into its slot
  void collect(size_t parameter);  // the hook
  void launch_ready();

  const std::vector<optim::NamedParameter> parameters_;
  const std::function<void(size_t)> launch_;
  std::vector<Bucket> buckets_;
  std::vector<Place> places_;      // by parameter
  std::vector<size_t> waiting_;    // slots not ready, by bucket
  size_t next_ = 0;                // the bucket that leaves next
  bool armed_ = false;
  std::mutex mutex_;               // backward passes of several devices run hooks in several threads
};

}  // namespace mose::dist
