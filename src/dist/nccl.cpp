#include "dist/nccl.h"

#include <c10/cuda/CUDAFunctions.h>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupNCCL.hpp>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

using torch::Tensor;

c10d::ReduceOp reduce_op(Reduce reduce) {
  switch (reduce) {
    case Reduce::kMax: return c10d::ReduceOp::MAX;
    case Reduce::kMin: return c10d::ReduceOp::MIN;
    default: return c10d::ReduceOp::SUM;
  }
}

// Tensors of the GPU go through NCCL, on streams of its own; all else, splitting and faults are Gloo's.
class NcclCommunicator : public Communicator {
 public:
  explicit NcclCommunicator(std::shared_ptr<GlooCommunicator> gloo)
      : gloo_(std::move(gloo)), device_(torch::kCUDA, static_cast<c10::DeviceIndex>(gloo_->run()->launch.local_rank)) {
    const Run& run = *gloo_->run();
    auto options = c10d::ProcessGroupNCCL::Options::create();
    options->timeout = milliseconds(run.options.collective_timeout);
    auto store = c10::make_intrusive<c10d::PrefixStore>(mose::str(gloo_->name(), "/nccl"), run.store);
    group_ = c10::make_intrusive<c10d::ProcessGroupNCCL>(store, static_cast<int>(rank()), static_cast<int>(size()), options);
  }

  int64_t rank() const override { return gloo_->rank(); }
  int64_t size() const override { return gloo_->size(); }
  void barrier() override { gloo_->barrier(); }
  std::shared_ptr<Communicator> split(int64_t color) override {
    return std::make_shared<NcclCommunicator>(gloo_->split_gloo(color));
  }
  void check() const override { gloo_->check(); }
  void fail(const std::string& reason) override { gloo_->fail(reason); }

 protected:
  void check_device(const Tensor& x, const char* verb) const override {
    if (!x.is_cpu() && x.device() != device_) {
      throw Error(mose::str(verb, ": a tensor on ", x.device(), ": this process works on the CPU and ", device_));
    }
  }
  Work do_all_reduce(Tensor x, Reduce reduce) override {
    if (x.is_cpu()) return gloo_->all_reduce(x, reduce);
    std::vector<Tensor> tensors = {x};
    c10d::AllreduceOptions options;
    options.reduceOp = reduce_op(reduce);
    return under_way(group_->allreduce(tensors, options));
  }
  Work do_reduce_scatter(Tensor out, Tensor in) override {
    if (in.is_cpu()) return gloo_->reduce_scatter(out, in);
    return under_way(group_->_reduce_scatter_base(out, in));
  }
  Work do_all_gather(Tensor out, Tensor in) override {
    if (in.is_cpu()) return gloo_->all_gather(out, in);
    return under_way(group_->_allgather_base(out, in));
  }
  Work do_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) override {
    if (in.is_cpu()) return gloo_->all_to_all(out, in, std::move(out_rows), std::move(in_rows));
    return under_way(group_->alltoall_base(out, in, out_rows, in_rows));
  }
  Work do_broadcast(Tensor x, int64_t root) override {
    if (x.is_cpu()) return gloo_->broadcast(x, root);
    std::vector<Tensor> tensors = {x};
    c10d::BroadcastOptions options;
    options.rootRank = root;
    return under_way(group_->broadcast(tensors, options));
  }

 private:
  Work under_way(c10::intrusive_ptr<c10d::Work> work) {
    check();
    gloo_->run()->watch->began_collective();
    return Work([work = std::move(work)] { work->wait(); });
  }

  const std::shared_ptr<GlooCommunicator> gloo_;
  const torch::Device device_;
  c10::intrusive_ptr<c10d::ProcessGroupNCCL> group_;
};

}  // namespace

bool has_nccl() { return c10::cuda::device_count() > 0; }

void require_nccl() {
  if (!has_nccl()) throw UsageError("distributed backend nccl: no CUDA device is available; use gloo");
}

std::shared_ptr<Communicator> join_nccl(std::shared_ptr<GlooCommunicator> gloo) {
  const int64_t local_rank = gloo->run()->launch.local_rank;
  if (local_rank >= c10::cuda::device_count()) {
    throw UsageError(str("local rank ", local_rank, ": this host has ", int{c10::cuda::device_count()},
                         " CUDA devices; start one process a device"));
  }
  return std::make_shared<NcclCommunicator>(std::move(gloo));
}

}  // namespace mose::dist
