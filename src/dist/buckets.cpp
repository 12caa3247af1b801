#include "dist/buckets.h"

#include <torch/csrc/autograd/variable.h>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

using torch::Tensor;

class Hook : public torch::autograd::PostAccumulateGradHook {
 public:
  explicit Hook(std::function<void()> work) : work_(std::move(work)) {}
  void operator()(const torch::autograd::Variable&) override { work_(); }

 private:
  std::function<void()> work_;
};

int64_t round_up(int64_t n, int64_t multiple) { return (n + multiple - 1) / multiple * multiple; }

}  // namespace

GradientBuckets::GradientBuckets(const std::vector<optim::NamedParameter>& parameters, double bytes, int64_t multiple,
                                 std::function<void(size_t)> launch)
    : parameters_(parameters), launch_(std::move(launch)), places_(parameters.size()) {
  // The last parameters first. A bucket has one type and one device.
  std::vector<int64_t> lengths;
  for (size_t i = parameters_.size(); i-- > 0;) {
    const Tensor& p = parameters_[i].tensor;
    if (!p.requires_grad() || !p.is_leaf()) {
      throw Error(mose::str("gradient reduction: parameter ", parameters_[i].name, " takes no gradient"));
    }
    const auto fits = [&] {
      const Tensor& first = parameters_[buckets_.back().slots.front().parameter].tensor;
      return first.options().type_equal(p.options()) && first.device() == p.device() &&
             static_cast<double>((lengths.back() + p.numel()) * p.element_size()) <= bytes;
    };
    if (buckets_.empty() || !fits()) {
      buckets_.emplace_back();
      lengths.push_back(0);
    }
    places_[i] = {buckets_.size() - 1, buckets_.back().slots.size()};
    buckets_.back().slots.push_back({i, lengths.back(), p.numel(), {}});
    lengths.back() = round_up(lengths.back() + p.numel(), kAlign);
  }
  for (size_t b = 0; b < buckets_.size(); ++b) {
    Bucket& bucket = buckets_[b];
    bucket.flat = torch::zeros({round_up(lengths[b], multiple * kAlign)},
                               parameters_[bucket.slots.front().parameter].tensor.options().requires_grad(false));
    for (auto& slot : bucket.slots) {
      slot.view = bucket.flat.narrow(0, slot.begin, slot.size).view(parameters_[slot.parameter].tensor.sizes());
    }
    waiting_.push_back(bucket.slots.size());
  }
  for (size_t i = 0; i < parameters_.size(); ++i) {
    torch::autograd::impl::set_post_acc_grad_hooks(parameters_[i].tensor, std::make_unique<Hook>([this, i] { collect(i); }));
  }
}

GradientBuckets::~GradientBuckets() {
  for (const auto& parameter : parameters_) torch::autograd::impl::set_post_acc_grad_hooks(parameter.tensor, nullptr);
}

void GradientBuckets::arm() {
  const std::lock_guard lock(mutex_);
  armed_ = true;
}

void GradientBuckets::take(size_t parameter) {
  const torch::NoGradGuard no_grad;
  const Place& place = places_[parameter];
  const Tensor& view = buckets_[place.bucket].slots[place.slot].view;
  Tensor& gradient = Tensor(parameters_[parameter].tensor).mutable_grad();
  if (gradient.data_ptr() == view.data_ptr()) return;
  view.copy_(gradient);
  gradient = view;
}

// From here on the gradient lives in the bucket: later backward passes add to it there.
void GradientBuckets::collect(size_t parameter) {
  const std::lock_guard lock(mutex_);
  Place& place = places_[parameter];
  if (place.bucket < next_) {
    throw Error(mose::str("gradient reduction: parameter ", parameters_[parameter].name,
                          " got a further gradient after its bucket had left; arm only the last backward pass"));
  }
  take(parameter);
  if (!armed_ || place.ready) return;
  place.ready = true;
  --waiting_[place.bucket];
  launch_ready();
}

void GradientBuckets::launch_ready() {
  while (next_ < buckets_.size() && waiting_[next_] == 0) launch_(next_++);
}

std::vector<bool> GradientBuckets::flush(Communicator& group) {
  const torch::NoGradGuard no_grad;
  const std::lock_guard lock(mutex_);
  // On the CPU, also in a run on GPUs: nothing waits for the device.
  const Tensor has = torch::zeros({static_cast<int64_t>(parameters_.size())}, torch::kInt32);
  for (size_t i = 0; i < parameters_.size(); ++i) {
    const bool defined = parameters_[i].tensor.grad().defined();
    has.mutable_data_ptr<int32_t>()[i] = defined ? 1 : 0;
    if (places_[i].bucket < next_) continue;
    if (defined) {
      take(i);
    } else {
      buckets_[places_[i].bucket].slots[places_[i].slot].view.zero_();
    }
  }
  while (next_ < buckets_.size()) launch_(next_++);
  group.all_reduce(has, Reduce::kMax).wait();

  armed_ = false;
  next_ = 0;
  for (size_t b = 0; b < buckets_.size(); ++b) waiting_[b] = buckets_[b].slots.size();
  for (auto& place : places_) place.ready = false;
  std::vector<bool> any;
  for (size_t i = 0; i < parameters_.size(); ++i) any.push_back(has.const_data_ptr<int32_t>()[i] != 0);
  return any;
}

}  // namespace mose::dist
