// The head and its cross-entropy, forward and backward, against transformers' loss: time and memory, on the CPU and on a GPU.
#include <ATen/Parallel.h>
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/nn/fused.h"

namespace mose::bench {
namespace {

using torch::Tensor;

// How far from float64 the loss and, of their largest value, its gradients may be.
struct Tolerance {
  double loss, gradient;
};

// Random rows and a random vocabulary; the step that is measured is the mean loss and its gradients.
class Head {
 public:
  Head(int64_t rows, int64_t width, int64_t classes, torch::TensorOptions options) : rows_(rows), width_(width), classes_(classes) {
    torch::manual_seed(7);
    hidden_ = torch::randn({rows, width}, options).requires_grad_();
    weight_ = (0.02 * torch::randn({classes, width}, options)).requires_grad_();
    targets_ = torch::randint(classes, {rows}, options.dtype(torch::kInt64));
    weights_ = torch::full({rows}, 1.0 / static_cast<double>(rows), options.dtype(torch::kFloat32));
  }

  std::string about() const { return str(rows_, " rows of ", width_, ", vocabulary ", classes_, ", ", type_name(hidden_.scalar_type()), ", forward + backward"); }
  double flops() const { return 6 * static_cast<double>(rows_ * width_ * classes_); }

  void forget_gradients() {
    hidden_.mutable_grad().reset();
    weight_.mutable_grad().reset();
  }
  void step() {
    const auto total = nn::vocabulary_loss(hidden_, weight_, {}, targets_, weights_).total;
    total.backward();
    loss_ = total.item<double>();
  }

  // The peer gets the same numbers. Error where the last step is not what float64 gives.
  void compare_with_float64(Peer& peer, Tolerance tolerance) const {
    const ScratchFolder folder;
    const auto input = folder.path() / "input.safetensors", out = folder.path() / "reference.safetensors";
    io::save_safetensors(input, {{"hidden", hidden_.detach().cpu()}, {"weight", weight_.detach().cpu()}, {"targets", targets_.cpu()}});
    const double exact = peer.call("prepare", {{"file", input.string()}, {"out", out.string()}}).at("loss");
    if (!(std::abs(loss_ - exact) <= tolerance.loss * exact)) throw Error(str("the loss is ", loss_, ", expected ", exact));
    const auto reference = io::StateDict::open(out);
    for (const auto& [key, found] : {std::pair{"hidden", hidden_.grad()}, {"weight", weight_.grad()}}) {
      const auto wanted = reference.get(key);
      const double difference = ((found.cpu().to(torch::kFloat32) - wanted).abs().max() / wanted.abs().max()).item<double>();
      if (!(difference < tolerance.gradient)) throw Error(str("the gradient of ", key, " differs by ", difference, " of its largest value"));
    }
  }

 private:
  int64_t rows_, width_, classes_;
  Tensor hidden_, weight_, targets_, weights_;
  double loss_ = 0;
};

// `seconds` times a step, `peak` measures the bytes that it takes beside those that are there (0 where that is not known).
Comparison make_comparison(const std::string& name, Head& head, Peer& peer, Tolerance tolerance,
                           std::function<double(const std::function<void()>&)> seconds,
                           const std::function<double(const std::function<void()>&)>& peak, double rate) {
  const auto step = [&head] { head.step(); };
  step();
  head.compare_with_float64(peer, tolerance);
  peer.call("head");
  head.forget_gradients();
  const double ours_bytes = peak(step), peer_bytes = peer.call("head").at("memory");
  Comparison c;
  c.name = name;
  c.shape = head.about();
  c.ours = [&head, step, seconds] {
    head.forget_gradients();
    return seconds(step);
  };
  c.sides = {{"transformers' head and loss", [&peer] { return peer.seconds("head"); }}};
  c.finish = [&head, ours_bytes, peer_bytes, rate](Row& row) {
    row.limit_share = 1000 * head.flops() / rate / row.ours_ms;
    row.more = {{"limit", "its matrix products at the measured rate"}};
    if (ours_bytes <= 0 || peer_bytes <= 0) return;
    row.more["peak_mib"] = std::round(ours_bytes / (1 << 20));
    row.more["peer_peak_mib"] = std::round(peer_bytes / (1 << 20));
    row.more["memory_share"] = std::round(1000 * ours_bytes / peer_bytes) / 1000;
  };
  return c;
}

// Of the process, whose tensors on a CPU nobody counts.
double resident_peak(const std::function<void()>& work) {
  give_back_freed_memory();
  reset_peak_resident();
  const int64_t before = peak_resident_bytes();
  work();
  return static_cast<double>(peak_resident_bytes() - before);
}

}  // namespace

void bench_head(Session& session) {
  constexpr int64_t kRows = 2048, kWidth = 512, kClasses = 32000;
  at::set_num_threads(static_cast<int>(session.threads()));
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const bool bfloat16 = type == torch::kBFloat16;
    const std::string name = str("linear + cross-entropy, ", type_name(type));
    session.attempt(name, "transformers' head and loss", [&] {
      if (bfloat16) require_bfloat16();
      Head head(kRows, kWidth, kClasses, torch::dtype(type));
      const auto peer = session.start_peer("head", session.threads());
      peer->call("device", {{"device", "cpu"}});
      const double rate = bfloat16 ? session.limits().bfloat16_flops : session.limits().gemm_flops;
      Comparison c = make_comparison(name, head, *peer, bfloat16 ? Tolerance{2e-3, 0.02} : Tolerance{1e-5, 1e-4}, wall_seconds, resident_peak, rate);
      c.repetitions = kSlowRepetitions;
      const auto finish = c.finish;
      c.finish = [&](Row& row) {
        finish(row);
        row.more["threads"] = session.threads();
        row.more["clock"] = "wall";
      };
      session.compare(c);
    });
  }
}

void bench_gpu_head(Session& session) {
  Gpu gpu(session);
  gpu.limits();
  const std::string name = "gpu-head: linear + cross-entropy";
  gpu.attempt(name, session.options().row_seconds + 12, [&] {
    Head head(gpu.size(8192, 40), gpu.size(2048, 64), gpu.size(151936, 500), at::dtype(torch::kBFloat16).device(gpu.device()));
    const auto peer = gpu.start_peer("head");
    gpu.compare(make_comparison(
        name, head, *peer, {2e-3, 0.02}, [&](const auto& work) { return gpu.seconds(work); },
        [&](const auto& work) { return gpu.peak_bytes(work); }, gpu.limits().gemm_flops));
  });
}

}  // namespace mose::bench
