#include "mose/dist/sharded_adamw.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "dist/buckets.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/optim/update.h"

namespace mose::dist {

using optim::AdamWPiece;
using torch::Tensor;

class ShardedAdamW::Impl {
 public:
  Impl(const std::vector<optim::NamedParameter>& parameters, optim::AdamWConfig config, std::shared_ptr<Communicator> group,
       const ReducerConfig& reducer)
      : config_(std::move(config)),
        group_(std::move(group)),
        buckets_(parameters, reducer.bucket_mb * 1024 * 1024, group_->size(), [this](size_t b) {
          Bucket& bucket = buckets_.buckets()[b];
          work_.push_back(group_->reduce_scatter(own(bucket), bucket.flat));
        }) {
    const auto settings = optim::resolve_settings(parameters, config_);
    for (size_t b = 0; b < buckets_.buckets().size(); ++b) {
      const Bucket& bucket = buckets_.buckets()[b];
      const int64_t length = bucket.flat.numel() / group_->size(), first = length * group_->rank();
      for (const auto& slot : bucket.slots) {
        const auto& [name, parameter] = parameters[slot.parameter];
        if (!parameter.is_contiguous()) throw Error(mose::str("sharded optimizer: parameter ", name, " is not contiguous"));
        const int64_t begin = std::max(slot.begin, first), end = std::min(slot.begin + slot.size, first + length);
        if (begin >= end) continue;
        Share share{b, slot.parameter, begin - slot.begin, end - slot.begin, bucket.flat.narrow(0, begin, end - begin), {}, {}};
        share.parameter_part = parameter.detach().view({-1}).narrow(0, share.begin, share.end - share.begin);
        share.piece = AdamWPiece::start(share.parameter_part, settings[slot.parameter]);
        shares_.push_back(std::move(share));
      }
    }
  }

  void arm() { buckets_.arm(); }

  void finish() {
    any_ = buckets_.flush(*group_);
    for (Work& work : work_) work.wait();
    work_.clear();
    for (const auto& parameter : parameters()) Tensor(parameter.tensor).mutable_grad().reset();
  }

  Tensor norm() {
    const torch::NoGradGuard no_grad;
    Tensor sum;
    for (const Bucket& bucket : buckets_.buckets()) {
      const Tensor norm = at::linalg_vector_norm(own(bucket), 2, std::nullopt, false, torch::kFloat32).to(torch::kFloat64);
      sum = sum.defined() ? sum + norm.square() : norm.square();
    }
    if (!sum.defined()) sum = torch::zeros({}, torch::kFloat64);
    group_->all_reduce(sum).wait();
    return sum.sqrt().to(torch::kFloat32);
  }

  void scale(const Tensor& norm, double max_norm) {
    const torch::NoGradGuard no_grad;
    const Tensor factor = (max_norm / (norm + 1e-6)).clamp_max(1.0).to(torch::kFloat32);
    for (const Bucket& bucket : buckets_.buckets()) own(bucket).mul_(factor.to(bucket.flat.device()));
  }

  void step(double learning_rate) {
    if (any_.empty()) throw Error("sharded optimizer: step() without finish() before it");
    const torch::NoGradGuard no_grad;
    std::vector<AdamWPiece*> pieces;
    std::vector<Tensor> gradients;
    for (Share& share : shares_) {
      if (!any_[share.parameter]) continue;
      pieces.push_back(&share.piece);
      gradients.push_back(share.flat);
    }
    // The buckets have done their service as gradients, and carry the new parameters to everyone.
    optim::update(pieces, gradients, gradients, config_, learning_rate);
    for (const Share& share : shares_) {
      if (any_[share.parameter] && master(share)) share.parameter_part.copy_(share.flat);
    }
    for (Bucket& bucket : buckets_.buckets()) work_.push_back(group_->all_gather(bucket.flat, own(bucket)));
    for (size_t b = 0; b < work_.size(); ++b) {
      work_[b].wait();
      for (const auto& slot : buckets_.buckets()[b].slots) {
        if (any_[slot.parameter]) Tensor(parameters()[slot.parameter].tensor).copy_(slot.view);
      }
    }
    work_.clear();
    any_.clear();
  }

  std::map<std::string, Tensor> state() const {
    std::map<std::string, Tensor> out;
    for (const Share& share : shares_) {
      const std::string& name = parameters()[share.parameter].name;
      for (const auto& [ending, tensor] : share.piece.tensors(master(share))) {
        out[optim::piece_name(name + ending, share.begin, share.end)] = tensor;
      }
      out[name + ".step"] = share.piece.step;
    }
    return out;
  }

  void load_state(const std::map<std::string, Tensor>& state) {
    const optim::StateReader reader(state);
    std::set<std::string> known;
    for (const auto& [name, parameter] : parameters()) {
      for (const char* ending : {".exp_avg", ".exp_avg_sq", ".step"}) known.insert(name + ending);
      if (parameter.scalar_type() != torch::kFloat32) known.insert(name + ".master");
    }
    reader.check_names(known);
    // Checked as a whole first, and by every process for all parameters: a state that does not fit changes none.
    for (const auto& [name, parameter] : parameters()) {
      for (const char* ending : {".exp_avg", ".exp_avg_sq", ".master"}) {
        if (known.contains(name + ending)) reader.check(name + ending, parameter.sizes(), 0, parameter.numel());
      }
      reader.check(name + ".step", {}, 0, 1);
    }
    for (const Share& share : shares_) {
      const std::string& name = parameters()[share.parameter].name;
      for (const auto& [ending, tensor] : share.piece.tensors(master(share))) {
        reader.read(name + ending, share.begin, share.end, tensor);
      }
      reader.read(name + ".step", 0, 1, share.piece.step);
    }
  }

  const std::vector<optim::NamedParameter>& parameters() const { return buckets_.parameters(); }

 private:
  // Elements [begin, end) of a parameter, which lie in this process's part of a bucket.
  struct Share {
    size_t bucket, parameter;
    int64_t begin, end;
    Tensor flat;            // their place in the bucket
    Tensor parameter_part;  // in the parameter
    AdamWPiece piece;
  };

  bool master(const Share& share) const { return share.parameter_part.scalar_type() != torch::kFloat32; }
  Tensor own(const Bucket& bucket) const {
    const int64_t length = bucket.flat.numel() / group_->size();
    return bucket.flat.narrow(0, length * group_->rank(), length);
  }

  const optim::AdamWConfig config_;
  const std::shared_ptr<Communicator> group_;
  std::vector<Work> work_;
  GradientBuckets buckets_;
  std::vector<Share> shares_;
  std::vector<bool> any_;  // by parameter: has a gradient in the step under way
};

ShardedAdamW::ShardedAdamW(const std::vector<optim::NamedParameter>& parameters, optim::AdamWConfig config,
                           std::shared_ptr<Communicator> group, const ReducerConfig& reducer)
    : impl_(std::make_unique<Impl>(parameters, std::move(config), std::move(group), reducer)) {}
ShardedAdamW::~ShardedAdamW() = default;

void ShardedAdamW::arm() { impl_->arm(); }
void ShardedAdamW::finish() { impl_->finish(); }
Tensor ShardedAdamW::norm() { return impl_->norm(); }
void ShardedAdamW::scale(const Tensor& norm, double max_norm) { impl_->scale(norm, max_norm); }

Tensor ShardedAdamW::clip(double max_norm) {
  const Tensor before = norm();
  if (max_norm > 0) scale(before, max_norm);
  return before;
}

void ShardedAdamW::step(double learning_rate) { impl_->step(learning_rate); }
std::map<std::string, Tensor> ShardedAdamW::state() const { return impl_->state(); }
void ShardedAdamW::load_state(const std::map<std::string, Tensor>& state) { impl_->load_state(state); }
const std::vector<optim::NamedParameter>& ShardedAdamW::parameters() const { return impl_->parameters(); }

}  // namespace mose::dist
