#include "mose/dist/reducer.h"

#include "dist/buckets.h"

namespace mose::dist {

class GradientReducer::Impl {
 public:
  Impl(const std::vector<optim::NamedParameter>& parameters, std::shared_ptr<Communicator> group, const ReducerConfig& config)
      : group_(std::move(group)),
        buckets_(parameters, config.bucket_mb * 1024 * 1024, 1, [this](size_t b) {
          work_.push_back(group_->all_reduce(buckets_.buckets()[b].flat));
        }) {}

  void arm() { buckets_.arm(); }

  void finish() {
    const std::vector<bool> any = buckets_.flush(*group_);
    for (Work& work : work_) work.wait();
    work_.clear();
    for (const Bucket& bucket : buckets_.buckets()) {
      for (const auto& slot : bucket.slots) {
        torch::Tensor parameter = buckets_.parameters()[slot.parameter].tensor;
        if (any[slot.parameter]) {
          parameter.mutable_grad() = slot.view;
        } else {
          parameter.mutable_grad().reset();
        }
      }
    }
  }

  int64_t buckets() { return static_cast<int64_t>(buckets_.buckets().size()); }

 private:
  const std::shared_ptr<Communicator> group_;
  std::vector<Work> work_;
  GradientBuckets buckets_;
};

GradientReducer::GradientReducer(const std::vector<optim::NamedParameter>& parameters, std::shared_ptr<Communicator> group,
                                 const ReducerConfig& config) {
  if (group->size() > 1) impl_ = std::make_unique<Impl>(parameters, std::move(group), config);
}

GradientReducer::~GradientReducer() = default;

void GradientReducer::arm() {
  if (impl_) impl_->arm();
}

void GradientReducer::finish() {
  if (impl_) impl_->finish();
}

int64_t GradientReducer::buckets() const { return impl_ ? impl_->buckets() : 0; }

}  // namespace mose::dist
