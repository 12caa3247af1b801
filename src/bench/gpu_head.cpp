// The head and its cross-entropy, forward and backward, against transformers' loss: time and memory.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/nn/fused.h"

namespace mose::bench {
namespace {

constexpr double kLossDifference = 2e-3, kGradientDifference = 0.02;

}  // namespace

void bench_gpu_head(Session& session) {
  Gpu gpu(session);
  gpu.limits();
  const int64_t rows = gpu.size(8192, 40), width = gpu.size(2048, 64), classes = gpu.size(151936, 500);
  const std::string name = "gpu-head: linear + cross-entropy";
  gpu.attempt(name, session.options().row_seconds + 12, [&] {
    torch::manual_seed(7);
    const auto options = at::dtype(torch::kBFloat16).device(gpu.device());
    auto hidden = torch::randn({rows, width}, options).requires_grad_(), weight = (0.02 * torch::randn({classes, width}, options)).requires_grad_();
    const auto targets = torch::randint(classes, {rows}, options.dtype(torch::kInt64));
    const auto weights = torch::full({rows}, 1.0 / static_cast<double>(rows), options.dtype(torch::kFloat32));
    const ScratchFolder folder;
    const auto input = folder.path() / "input.safetensors", out = folder.path() / "reference.safetensors";
    io::save_safetensors(input, {{"hidden", hidden.detach().cpu()}, {"weight", weight.detach().cpu()}, {"targets", targets.cpu()}});
    const auto peer = gpu.start_peer("gpu_layer");
    const double exact = peer->call("prepare_head", {{"file", input.string()}, {"out", out.string()}}).at("loss");
    double loss = 0;
    const auto step = [&] {
      const auto total = nn::vocabulary_loss(hidden, weight, {}, targets, weights).total;
      total.backward();
      loss = total.item<double>();
    };
    const double ours_bytes = gpu.peak_bytes(step);
    if (!(std::abs(loss - exact) <= kLossDifference * exact)) throw Error(str("the loss is ", loss, ", expected ", exact));
    const auto reference = io::StateDict::open(out);
    for (const auto& [key, found] : {std::pair{"hidden", hidden.grad()}, {"weight", weight.grad()}}) {
      const auto wanted = reference.get(key);
      const double difference = ((found.cpu().to(torch::kFloat32) - wanted).abs().max() / wanted.abs().max()).item<double>();
      if (!(difference < kGradientDifference)) throw Error(str("the gradient of ", key, " differs by ", difference, " of its largest value"));
    }
    const double peer_bytes = peer->call("head").at("memory");
    Comparison c;
    c.name = name;
    c.shape = str(rows, " rows of ", width, ", vocabulary ", classes, ", bfloat16, forward + backward");
    c.ours = [&] {
      hidden.mutable_grad().reset();
      weight.mutable_grad().reset();
      return gpu.seconds(step);
    };
    c.sides = {{"transformers' head and loss", [&] { return peer->seconds("head"); }}};
    c.finish = [&](Row& row) {
      row.limit_share = 1000 * 6 * static_cast<double>(rows * width * classes) / gpu.limits().gemm_flops / row.ours_ms;
      row.more = {{"limit", "its matrix products at the measured rate"}};
      if (ours_bytes > 0) {
        row.more["peak_mib"] = std::round(ours_bytes / (1 << 20));
        row.more["peer_peak_mib"] = std::round(peer_bytes / (1 << 20));
        row.more["memory_share"] = std::round(1000 * ours_bytes / peer_bytes) / 1000;
      }
    };
    gpu.compare(c);
  });
}

}  // namespace mose::bench
