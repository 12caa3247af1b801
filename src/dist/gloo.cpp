#include "dist/gloo.h"

#include <ATen/ATen.h>
#include <torch/csrc/distributed/c10d/HashStore.hpp>
#include <torch/csrc/distributed/c10d/PrefixStore.hpp>
#include <torch/csrc/distributed/c10d/ProcessGroupGloo.hpp>
#include <torch/csrc/distributed/c10d/TCPStore.hpp>

#include <csignal>
#include <cstdlib>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

using torch::Tensor;

Tensor bytes(const Tensor& x) { return x.view({-1}).view(torch::kUInt8); }

// Elements up to which a sum gathers all parts whole: one exchange instead of two.
constexpr int64_t kSmall = 4096;
// Elements a process that travel at once: what a collective holds beside its tensors stays small.
constexpr int64_t kChunk = 1 << 20;

// Row 0, then row 1, and so on: the order of sums that communicator.h promises. `out` may be a row of parts_WN.
void reduce_rows(const Tensor& parts_WN, Reduce reduce, const Tensor& out) {
  const bool narrow = parts_WN.scalar_type() == torch::kBFloat16 || parts_WN.scalar_type() == torch::kHalf;
  Tensor sum = narrow ? parts_WN[0].to(torch::kFloat32) : parts_WN[0];
  for (int64_t r = 1; r < parts_WN.size(0); ++r) {
    const Tensor part = parts_WN[r];
    if (reduce == Reduce::kSum) {
      sum.add_(part);
    } else {
      sum.copy_(reduce == Reduce::kMax ? at::maximum(sum, part) : at::minimum(sum, part));
    }
  }
  out.view({-1}).copy_(sum);
}

// Where the processes meet: rank 0 serves it, unless torchrun's agent does; one process keeps it to itself.
c10::intrusive_ptr<c10d::Store> open_store(const Launch& launch, double seconds) {
  if (launch.world == 1) return c10::make_intrusive<c10d::HashStore>();
  c10d::TCPStoreOptions options;
  options.port = static_cast<std::uint16_t>(launch.master_port);
  options.isServer = launch.rank == 0 && !launch.store_served;
  options.waitWorkers = false;
  options.timeout = milliseconds(seconds);
  // First by ourselves: c10d fills the terminal with its stack when it cannot connect.
  if (!options.isServer) connect_to(launch.master_address, launch.master_port, seconds);
  auto store = c10::make_intrusive<c10d::TCPStore>(launch.master_address, options);
  return c10::make_intrusive<c10d::PrefixStore>(mose::str("mose/", launch.attempt), store);
}

}  // namespace

std::chrono::milliseconds milliseconds(double seconds) {
  return std::chrono::milliseconds(static_cast<int64_t>(std::min(seconds, 1e8) * 1000));
}

class GlooCommunicator::Transport {
 public:
  Transport(const Run& run, const std::string& name, int64_t rank, int64_t size) : rank_(rank), size_(size) {
    auto options = c10d::ProcessGroupGloo::Options::create(milliseconds(run.options.collective_timeout));
    const char* interface = std::getenv("GLOO_SOCKET_IFNAME");
    options->devices = {interface ? c10d::ProcessGroupGloo::createDeviceForInterface(interface)
                                  : c10d::ProcessGroupGloo::createDeviceForHostname(run.address)};
    options->threads = 1;  // the queue above runs one collective at a time
    auto store = c10::make_intrusive<c10d::PrefixStore>(name, run.store);
    group_ = c10::make_intrusive<c10d::ProcessGroupGloo>(store, static_cast<int>(rank), static_cast<int>(size), options);
  }

  void all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) {
    group_->alltoall_base(out, in, out_rows, in_rows)->wait();
  }
  void all_gather(Tensor out, Tensor in) {
    const int64_t n = in.numel();
    const Tensor out_WN = out.view({size_, n}), in_N = in.view({-1});
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      // Gloo gathers into memory of its own, so a part in place is read before it is written.
      const int64_t c = std::min(kChunk, n - begin);
      const Tensor chunk_WN = c == n ? out_WN : at::empty({size_, c}, out.options());
      Tensor to = bytes(chunk_WN), from = bytes(in_N.narrow(0, begin, c));
      group_->_allgather_base(to, from)->wait();
      if (c < n) out_WN.narrow(1, begin, c).copy_(chunk_WN);
    }
  }
  void broadcast(Tensor x, int64_t root) {
    c10d::BroadcastOptions options;
    options.rootRank = root;
    std::vector<Tensor> tensors = {bytes(x)};
    group_->broadcast(tensors, options)->wait();
  }
  void barrier() { group_->barrier()->wait(); }

  // Each rank receives its part of everyone's tensor and adds: the traffic of a ring, in an order that is fixed.
  void reduce_scatter(const Tensor& out, const Tensor& in, Reduce reduce) {
    const int64_t n = out.numel();
    const Tensor in_WN = in.view({size_, n}), out_N = out.view({-1});
    for (int64_t begin = 0; begin < n; begin += kChunk) {
      const int64_t c = std::min(kChunk, n - begin);
      const Tensor sent_WN = in_WN.narrow(1, begin, c).contiguous(), parts_WN = at::empty({size_, c}, in.options());
      all_to_all(bytes(parts_WN).view({size_, -1}), bytes(sent_WN).view({size_, -1}), {}, {});
      reduce_rows(parts_WN, reduce, out_N.narrow(0, begin, c));
    }
  }

  void all_reduce(const Tensor& x, Reduce reduce) {
    const Tensor flat = x.view({-1});
    const int64_t n = flat.numel();
    if (n <= kSmall) {
      const Tensor parts_WN = at::empty({size_, n}, x.options());
      all_gather(parts_WN, flat);
      return reduce_rows(parts_WN, reduce, flat);
    }
    // Parts of equal size, a rest of fewer than W elements beside them.
    const int64_t part = n / size_, rest = n - part * size_;
    const Tensor even = flat.narrow(0, 0, part * size_), own = even.narrow(0, part * rank_, part);
    const Tensor rest_WN = at::empty({size_, rest}, x.options());
    if (rest > 0) all_gather(rest_WN, flat.narrow(0, part * size_, rest));
    reduce_scatter(own, even, reduce);
    all_gather(even, own);
    if (rest > 0) reduce_rows(rest_WN, reduce, flat.narrow(0, part * size_, rest));
  }

 private:
  const int64_t rank_, size_;
  c10::intrusive_ptr<c10d::ProcessGroupGloo> group_;
};

GlooCommunicator::GlooCommunicator(std::shared_ptr<Run> run, const std::string& name, int64_t rank, int64_t size)
    : run_(std::move(run)),
      name_(name),
      rank_(rank),
      size_(size),
      transport_(std::make_shared<Transport>(*run_, name, rank, size)),
      queue_(run_->watch, run_->options.collective_timeout) {}

GlooCommunicator::~GlooCommunicator() {
  if (std::uncaught_exceptions() > 0) run_->watch->fail("an error ended it");
}

void GlooCommunicator::check_device(const Tensor& x, const char* verb) const {
  if (!x.is_cpu()) throw Error(mose::str(verb, ": a tensor on ", x.device(), ": Gloo works on the CPU, and this run has no NCCL"));
}

Work GlooCommunicator::do_all_reduce(Tensor x, Reduce reduce) {
  return queue_.submit("all_reduce", [t = transport_, x, reduce] { t->all_reduce(x, reduce); });
}

Work GlooCommunicator::do_reduce_scatter(Tensor out, Tensor in) {
  return queue_.submit("reduce_scatter", [t = transport_, out, in] { t->reduce_scatter(out, in, Reduce::kSum); });
}

Work GlooCommunicator::do_all_gather(Tensor out, Tensor in) {
  return queue_.submit("all_gather", [t = transport_, out, in] { t->all_gather(out, in); });
}

Work GlooCommunicator::do_all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) {
  // As bytes, so that every type can travel.
  const auto rows = [](const Tensor& x) {
    return x.dim() == 1 && x.element_size() == 1 ? x.view(torch::kUInt8) : bytes(x).view({x.size(0), x.size(0) > 0 ? -1 : 0});
  };
  return queue_.submit("all_to_all", [t = transport_, out = rows(out), in = rows(in), out_rows = std::move(out_rows),
                                      in_rows = std::move(in_rows)] { t->all_to_all(out, in, out_rows, in_rows); });
}

Work GlooCommunicator::do_broadcast(Tensor x, int64_t root) {
  return queue_.submit("broadcast", [t = transport_, x, root] { t->broadcast(x, root); });
}

void GlooCommunicator::barrier() {
  queue_.submit("barrier", [t = transport_] { t->barrier(); }).wait();
}

std::shared_ptr<GlooCommunicator> GlooCommunicator::split_gloo(int64_t color) {
  const Tensor colors = torch::zeros({size_}, torch::kInt64);
  all_gather(colors, torch::full({1}, color, torch::kInt64)).wait();
  const auto same = colors.eq(color);
  const int64_t size = same.sum().item<int64_t>(), rank = same.narrow(0, 0, rank_).sum().item<int64_t>();
  return std::make_shared<GlooCommunicator>(run_, mose::str(name_, "/", splits_++, ".", color), rank, size);
}

std::shared_ptr<GlooCommunicator> join_gloo(const Launch& launch, const CommunicatorOptions& options) {
  const std::string who = mose::str("rank ", launch.rank, " of ", launch.world, " could not join the others at ",
                                    launch.master_address, ":", launch.master_port, " within ", options.join_timeout, " s: ");
  std::signal(SIGPIPE, SIG_IGN);  // Gloo writes to connections whose other end may be gone; the error is enough
  try {
    auto run = std::make_shared<Run>(Run{launch, options, open_store(launch, options.join_timeout), nullptr, "127.0.0.1"});
    if (launch.world > 1) run->address = address_towards(launch.master_address, launch.master_port);
    const Watch::Meeting meeting = {
        [&](const std::string& value) { run->store->set("watch", std::vector<uint8_t>(value.begin(), value.end())); },
        [&] {
          const auto value = run->store->get("watch");
          return std::string(value.begin(), value.end());
        }};
    run->watch = std::make_shared<Watch>(launch, options, meeting);
    return std::make_shared<GlooCommunicator>(run, "world", launch.rank, launch.world);
  } catch (const c10::Error& e) {
    throw Error(who + e.what_without_backtrace());
  } catch (const std::exception& e) {
    throw Error(who + e.what());
  }
}

}  // namespace mose::dist
