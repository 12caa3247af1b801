#include "mose/dist/communicator.h"

#include <ATen/ATen.h>

#include <numeric>

#include "dist/gloo.h"
#include "dist/nccl.h"
#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

using torch::Tensor;

std::string shape(const Tensor& x) { return mose::str(x.scalar_type(), x.sizes()); }

// A group of one: copies, or nothing.
class Single : public Communicator {
 public:
  int64_t rank() const override { return 0; }
  int64_t size() const override { return 1; }
  void barrier() override {}
  std::shared_ptr<Communicator> split(int64_t) override { return std::make_shared<Single>(); }

 protected:
  void check_device(const Tensor&, const char*) const override {}
  Work do_all_reduce(Tensor, Reduce) override { return {}; }
  Work do_reduce_scatter(Tensor out, Tensor in) override { return copy(out, in); }
  Work do_all_gather(Tensor out, Tensor in) override { return copy(out, in); }
  Work do_all_to_all(Tensor out, Tensor in, std::vector<int64_t>, std::vector<int64_t>) override { return copy(out, in); }
  Work do_broadcast(Tensor, int64_t) override { return {}; }

 private:
  static Work copy(const Tensor& out, const Tensor& in) {
    const torch::NoGradGuard no_grad;
    if (out.data_ptr() != in.data_ptr()) out.view({-1}).copy_(in.view({-1}));
    return {};
  }
};

}  // namespace

void Communicator::check(const Tensor& x, const char* verb, const char* name) const {
  if (!x.defined()) throw Error(mose::str(verb, ": ", name, " is undefined"));
  if (!x.is_contiguous()) throw Error(mose::str(verb, ": ", name, " is ", shape(x), " with strides ", x.strides(), ": expected contiguous"));
  check_device(x, verb);
}

Work Communicator::all_reduce(Tensor x, Reduce reduce) {
  check(x, "all_reduce", "x");
  if (x.is_complex() || x.scalar_type() == torch::kBool) throw Error(mose::str("all_reduce: x is ", shape(x), ": expected floating or integer"));
  return x.numel() == 0 ? Work() : do_all_reduce(x.detach(), reduce);
}

Work Communicator::reduce_scatter(Tensor out, Tensor in) {
  check(out, "reduce_scatter", "out");
  check(in, "reduce_scatter", "in");
  if (in.numel() != out.numel() * size() || in.scalar_type() != out.scalar_type() || in.is_complex() ||
      in.scalar_type() == torch::kBool) {
    throw Error(mose::str("reduce_scatter: out is ", shape(out), " and in is ", shape(in), ": expected one floating or integer type and ",
                    size(), " times as many elements in `in`"));
  }
  return in.numel() == 0 ? Work() : do_reduce_scatter(out.detach(), in.detach());
}

Work Communicator::all_gather(Tensor out, Tensor in) {
  check(out, "all_gather", "out");
  check(in, "all_gather", "in");
  if (out.numel() != in.numel() * size() || in.scalar_type() != out.scalar_type()) {
    throw Error(mose::str("all_gather: out is ", shape(out), " and in is ", shape(in), ": expected one type and ", size(),
                    " times as many elements in `out`"));
  }
  return out.numel() == 0 ? Work() : do_all_gather(out.detach(), in.detach());
}

Work Communicator::all_to_all(Tensor out, Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows) {
  check(out, "all_to_all", "out");
  check(in, "all_to_all", "in");
  if (in.dim() < 1 || out.dim() != in.dim() || in.sizes().slice(1) != out.sizes().slice(1) || in.scalar_type() != out.scalar_type()) {
    throw Error(mose::str("all_to_all: out is ", shape(out), " and in is ", shape(in), ": expected one type and one shape of rows"));
  }
  const auto fits = [&](const std::vector<int64_t>& rows, const Tensor& x, const char* name) {
    const bool negative = std::any_of(rows.begin(), rows.end(), [](int64_t n) { return n < 0; });
    const int64_t sum = std::accumulate(rows.begin(), rows.end(), int64_t{0});
    if (static_cast<int64_t>(rows.size()) != size() || negative || sum != x.size(0)) {
      throw Error(mose::str("all_to_all: ", name, "_rows are ", rows.size(), " counts that sum to ", sum, " for ", size(), " ranks and ",
                      x.size(0), " rows"));
    }
  };
  fits(out_rows, out, "out");
  fits(in_rows, in, "in");
  return do_all_to_all(out.detach(), in.detach(), std::move(out_rows), std::move(in_rows));
}

Work Communicator::broadcast(Tensor x, int64_t root) {
  check(x, "broadcast", "x");
  if (root < 0 || root >= size()) throw Error(mose::str("broadcast: rank ", root, " of ", size()));
  return x.numel() == 0 ? Work() : do_broadcast(x.detach(), root);
}

std::shared_ptr<Communicator> make_communicator(const Launch& launch, const CommunicatorOptions& options) {
  const auto& backend = options.backend;
  if (backend != "auto" && backend != "gloo" && backend != "nccl") {
    throw UsageError(mose::str("distributed backend: expected auto, gloo or nccl, found \"", backend, "\""));
  }
  if (!(options.timeout > 0 && options.join_timeout > 0 && options.collective_timeout > 0)) {
    throw UsageError("distributed timeouts: expected more than 0 seconds");
  }
  if (backend == "nccl") require_nccl();
  if (launch.world == 1 && backend != "nccl") return std::make_shared<Single>();
  auto gloo = join_gloo(launch, options);
  const bool nccl = backend == "nccl" || (backend == "auto" && has_nccl());
  log::info("rank ", launch.rank, " of ", launch.world, " (", launch.launcher, "), ", nccl ? "NCCL and Gloo" : "Gloo");
  return nccl ? join_nccl(std::move(gloo)) : gloo;
}

int64_t agree(Communicator& group, int64_t value) {
  const Tensor x = torch::full({1}, value, torch::kInt64);
  group.all_reduce(x, Reduce::kMax).wait();
  return x.item<int64_t>();
}

std::vector<std::string> gather_texts(Communicator& group, const std::string& text) {
  const auto size = static_cast<int64_t>(text.size());
  const Tensor sizes = torch::zeros({group.size()}, torch::kInt64);
  group.all_gather(sizes, torch::full({1}, size, torch::kInt64)).wait();
  const int64_t longest = sizes.max().item<int64_t>();
  Tensor mine = torch::zeros({longest}, torch::kUInt8), all = torch::zeros({group.size(), longest}, torch::kUInt8);
  std::copy(text.begin(), text.end(), reinterpret_cast<char*>(mine.data_ptr()));
  group.all_gather(all, mine).wait();
  std::vector<std::string> out;
  for (int64_t r = 0; r < group.size(); ++r) {
    out.emplace_back(reinterpret_cast<const char*>(all[r].const_data_ptr()), static_cast<size_t>(sizes[r].item<int64_t>()));
  }
  return out;
}

void guarded(Communicator& group, const std::function<void()>& work) {
  try {
    work();
  } catch (const std::exception& e) {
    group.fail(e.what());
    throw;
  }
}

}  // namespace mose::dist
