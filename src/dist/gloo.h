// Collectives over Gloo, on the CPU. Gloo only moves bytes here; sums are ours, so that their order is fixed.
#pragma once

#include <torch/csrc/distributed/c10d/Backend.hpp>
#include <torch/csrc/distributed/c10d/Store.hpp>

#include "dist/watch.h"
#include "dist/work_queue.h"
#include "mose/dist/communicator.h"

namespace mose::dist {

std::chrono::milliseconds milliseconds(double seconds);

// What all groups of a run share.
struct Run {
  Launch launch;
  CommunicatorOptions options;
  c10::intrusive_ptr<c10d::Store> store;
  std::shared_ptr<Watch> watch;
  std::string address;  // of this machine, as the others reach it
};

class GlooCommunicator : public Communicator {
 public:
  // `name` distinguishes the group's keys in the store; its ranks are numbered anew.
  GlooCommunicator(std::shared_ptr<Run> run, const std::string& name, int64_t rank, int64_t size);
  ~GlooCommunicator() override;

  int64_t rank() const override { return rank_; }
  int64_t size() const override { return size_; }
  void barrier() override;
  std::shared_ptr<Communicator> split(int64_t color) override { return split_gloo(color); }
  std::shared_ptr<GlooCommunicator> split_gloo(int64_t color);
  void check() const override { run_->watch->check(); }
  void fail(const std::string& reason) override { run_->watch->fail(reason); }

  const std::shared_ptr<Run>& run() const { return run_; }
  const std::string& name() const { return name_; }

 protected:
  void check_device(const torch::Tensor& x, const char* verb) const override;
  Work do_all_reduce(torch::Tensor x, Reduce reduce) override;
  Work do_reduce_scatter(torch::Tensor out, torch::Tensor in) override;
  Work do_all_gather(torch::Tensor out, torch::Tensor in) override;
  Work do_all_to_all(torch::Tensor out, torch::Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) override;
  Work do_broadcast(torch::Tensor x, int64_t root) override;

 private:
  class Transport;  // the verbs of Gloo, one after the other

  const std::shared_ptr<Run> run_;
  const std::string name_;
  const int64_t rank_, size_;
  int64_t splits_ = 0;
  std::shared_ptr<Transport> transport_;
  WorkQueue queue_;
};

std::shared_ptr<GlooCommunicator> join_gloo(const Launch& launch, const CommunicatorOptions& options);

}  // namespace mose::dist
