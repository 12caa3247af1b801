// One MoE layer of GPU shape R against transformers' Mixtral block, and against a dense FFN of equal FLOPs.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/moe/dispatch.h"
#include "mose/moe/layer.h"

namespace mose::bench {
namespace {

using torch::Tensor;

constexpr int64_t kCalls = 20;       // of a layer on few rows, a turn
constexpr double kDifference = 0.02;  // of the largest value: a few of bfloat16's units
constexpr double kElement = 2;        // bytes of a bfloat16

moe::Config layer_config() {
  moe::Config config;
  config.experts = kExperts;
  config.top_k = kTopK;
  config.router = "topk";
  return config;
}

class Bench {
 public:
  explicit Bench(Gpu& gpu)
      : gpu_(gpu), width_(gpu.size(2048, 64)), intermediate_(gpu.size(5504, 96)), peer_(gpu.start_peer("gpu_layer")),
        layer_(layer_config(), width_, intermediate_, {}), dense_(width_, kTopK * intermediate_) {
    layer_.to(gpu.device(), torch::kBFloat16);
    dense_.to(gpu.device(), torch::kBFloat16);
    io::TensorMap weights;
    for (const auto& item : layer_.named_parameters()) weights[item.key()] = item.value().detach().cpu();
    const auto file = folder_.path() / "weights.safetensors";
    io::save_safetensors(file, weights);
    const Json sizes = {{"width", width_}, {"intermediate", intermediate_}, {"experts", kExperts}, {"top_k", kTopK}};
    peer_->call("prepare_block", {{"sizes", sizes}, {"weights", file.string()}});
  }

  // New random rows on both sides; output and every gradient of ours against float64.
  void set_rows(int64_t rows) {
    const auto options = at::dtype(torch::kBFloat16).device(gpu_.device());
    x_ = torch::randn({rows, width_}, options).requires_grad_();
    gradient_ = torch::randn({rows, width_}, options);
    const auto input = folder_.path() / "input.safetensors", reference = folder_.path() / "reference.safetensors";
    io::save_safetensors(input, {{"x", x_.detach().cpu()}, {"gradient", gradient_.cpu()}});
    peer_->call("load_input", {{"file", input.string()}});
    peer_->call("reference", {{"out", reference.string()}});
    const auto exact = io::StateDict::open(reference);
    const Tensor y = layer_.forward(x_).first;
    y.backward(gradient_);
    const auto check = [&](const std::string& name, const Tensor& found) {
      const Tensor wanted = exact.get(name);
      const double difference = ((found.cpu().to(torch::kFloat32) - wanted).abs().max() / wanted.abs().max()).item<double>();
      if (!(difference < kDifference)) throw Error(str(name, " differs from the float64 reference by ", difference, " of its largest value"));
    };
    check("y", y.detach());
    check("x", x_.grad());
    for (const auto& item : layer_.named_parameters()) check(item.key(), item.value().grad());
    clear();
    {
      const torch::NoGradGuard no_grad;  // decoding may take other kernels
      check("y", layer_.forward(x_).first);
    }
  }

  void train(int64_t rows) {
    Comparison c;
    c.name = "gpu-moe: layer, forward + backward";
    c.shape = str(rows, " tokens; ", layer_shape());
    c.ours = [&] { return timed([&] { layer_.forward(x_).first.backward(gradient_); }); };
    for (const std::string block : {"eager", "grouped_mm"}) {
      c.sides.push_back({"transformers Mixtral, " + block, [this, block] { return peer_->seconds("train", {{"block", block}}); }});
    }
    c.sides.push_back({"ours, a dense FFN of equal FLOPs", [&] { return timed([&] { dense_.forward(x_).backward(gradient_); }); }});
    c.finish = [&](Row& row) {
      row.limit_share = 1000 * 3 * flops(rows) / gpu_.limits().gemm_flops / row.ours_ms;
      row.more = {{"limit", "its matrix products at the measured rate"}};
    };
    gpu_.compare(c);
  }

  void route(int64_t rows) {
    Comparison c;
    c.name = "gpu-moe: routing + permutation, forward + backward";
    c.shape = str(rows, " tokens; ", layer_shape());
    c.ours = [&] {
      return timed([&] {
        const moe::Routing routing = layer_.router().forward(x_);
        const moe::Dispatch dispatch = moe::plan_dispatch(routing.experts_TK, kExperts, false);
        moe::combine_rows(moe::gather_rows(x_, dispatch), routing.weights_TK, dispatch).backward(gradient_);
      });
    };
    c.sides = {{"transformers grouped_mm without its products", [&] { return peer_->seconds("train", {{"block", "chain"}}); }}};
    c.finish = [&](Row& row) {
      // Forward and backward each read and write the rows once sorted and once in order.
      const double bytes = 2.0 * (2 + 2 * kTopK) * static_cast<double>(rows * width_) * kElement;
      row.limit_share = 1000 * bytes / gpu_.limits().copy_bytes_per_second / row.ours_ms;
      row.more = {{"limit", "its traffic at the bandwidth of a copy"}};
    };
    gpu_.compare(c);
  }

  void decode(int64_t rows) {
    const torch::NoGradGuard no_grad;
    Comparison c;
    c.name = "gpu-moe: layer, few tokens";
    c.shape = str(rows, rows == 1 ? " token" : " tokens", ", forward; ", layer_shape());
    const auto experts = layer_.router().forward(x_).experts_TK.flatten().cpu();
    const auto met = static_cast<double>(std::get<0>(at::_unique(experts)).numel());
    c.ours = [&] {
      return gpu_.seconds([&] {
        const torch::NoGradGuard none;
        for (int64_t i = 0; i < kCalls; ++i) layer_.forward(x_);
      });
    };
    for (const std::string block : {"batched_mm", "eager"}) {
      c.sides.push_back({"transformers Mixtral, " + block, [this, block] { return peer_->seconds("forward", {{"block", block}, {"calls", kCalls}}); }});
    }
    c.finish = [&](Row& row) {
      for (double* value : {&row.ours_ms, &row.peer_ms}) *value /= kCalls;
      const double bytes = met * 3 * static_cast<double>(width_ * intermediate_) * kElement;
      row.limit_share = 1000 * bytes / gpu_.limits().read_bytes_per_second / row.ours_ms;
      row.more = {{"limit", "reading the weights of the experts that are met"}};
    };
    gpu_.compare(c);
  }

 private:
  std::string layer_shape() const { return str("width ", width_, ", ", kExperts, " experts of ", intermediate_, ", top-", kTopK, ", bfloat16"); }
  double flops(int64_t rows) const { return 2.0 * static_cast<double>(rows * kTopK * 3 * width_ * intermediate_); }
  double timed(const std::function<void()>& work) {
    const double seconds = gpu_.seconds(work);
    clear();
    return seconds;
  }
  void clear() {
    x_.mutable_grad().reset();
    layer_.zero_grad();
    dense_.zero_grad();
  }

  Gpu& gpu_;
  ScratchFolder folder_;
  int64_t width_, intermediate_;
  std::unique_ptr<Peer> peer_;
  moe::MoeLayer layer_;
  nn::SwiGlu dense_;
  Tensor x_, gradient_;
};

}  // namespace

void bench_gpu_moe(Session& session) {
  Gpu gpu(session);
  torch::manual_seed(4);
  gpu.limits();
  Bench bench(gpu);
  for (const int64_t rows : {2048, 8192, 32768}) {
    gpu.attempt("gpu-moe: layer, forward + backward", 2 * session.options().row_seconds + 5, [&] {
      const int64_t n = gpu.size(rows, rows / 128);
      bench.set_rows(n);
      bench.train(n);
      bench.route(n);
    });
  }
  for (const int64_t rows : {1, 2, 4, 8, 16}) {
    gpu.attempt("gpu-moe: layer, few tokens", 5, [&] {
      bench.set_rows(rows);
      bench.decode(rows);
    });
  }
}

}  // namespace mose::bench
