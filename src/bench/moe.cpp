// One MoE layer of shape r against transformers' Mixtral block, and against a dense FFN of equal FLOPs.
#include <ATen/Parallel.h>

#include <algorithm>
#include <cmath>

#include "bench/session.h"
#include "bench/shape_r.h"
#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/io/safetensors.h"
#include "mose/moe/dispatch.h"
#include "mose/moe/layer.h"

namespace mose::bench {
namespace {

using torch::Tensor;

constexpr double kDifference = 1e-4;
constexpr int64_t kCalls = 20;              // of a layer on few rows, a turn
constexpr int64_t kRoutedRows = 8 * 2048;  // a turn: a single call on few rows would measure how long threads take to wake up

moe::Config layer_config() {
  moe::Config config;
  config.experts = kExperts;
  config.top_k = kTopK;
  config.router = "topk";
  return config;
}

class Bench {
 public:
  explicit Bench(Session& session)
      : session_(session), peer_(session.start_peer("moe", session.threads())), layer_(layer_config(), kWidth, kIntermediate, {}),
        dense_(kWidth, kTopK * kIntermediate) {
    io::TensorMap weights;
    for (const auto& item : layer_.named_parameters()) weights[item.key()] = item.value().detach();
    const auto file = folder_.path() / "weights.safetensors";
    io::save_safetensors(file, weights);
    const Json sizes = {{"width", kWidth}, {"intermediate", kIntermediate}, {"experts", kExperts}, {"top_k", kTopK}};
    peer_->call("setup", {{"threads", session.threads()}, {"sizes", sizes}, {"weights", file.string()}});
  }

  // New random rows on both sides.
  void set_rows(int64_t rows) {
    x_ = torch::randn({rows, kWidth}).requires_grad_();
    gradient_ = torch::randn({rows, kWidth});
    const auto file = folder_.path() / "input.safetensors";
    io::save_safetensors(file, {{"x", x_.detach()}, {"gradient", gradient_}});
    peer_->call("load_input", {{"file", file.string()}});
  }

  // Output and every gradient against float64.
  void check() {
    const auto file = folder_.path() / "reference.safetensors";
    peer_->call("reference", {{"out", file.string()}});
    const auto reference = io::StateDict::open(file);
    const Tensor y = layer_.forward(x_).first;
    y.backward(gradient_);
    const auto compare = [&](const std::string& name, const Tensor& ours) {
      const Tensor theirs = reference.get(name);
      const double difference = ((ours - theirs).abs().max() / theirs.abs().max()).item<double>();
      if (!(difference < kDifference)) throw Error(str(name, " differs from the float64 reference by ", difference, " of its largest value"));
    };
    compare("y", y.detach());
    compare("x", x_.grad());
    for (const auto& item : layer_.named_parameters()) compare(item.key(), item.value().grad());
    clear();
  }

  void train(int64_t rows) {
    Comparison c;
    c.name = "MoE layer, forward + backward";
    c.shape = str(rows, " tokens; width ", kWidth, ", ", kExperts, " experts of ", kIntermediate, ", top-", kTopK);
    if (rows > 1024) c.repetitions = kSlowRepetitions;
    c.ours = [&] { return timed([&] { layer_.forward(x_).first.backward(gradient_); }); };
    for (const std::string block : {"eager", "grouped_mm"}) {
      c.sides.push_back({"transformers Mixtral, " + block, [this, block] { return peer_->seconds("train", {{"block", block}}); }});
    }
    c.sides.push_back({"ours, a dense FFN of equal FLOPs", [&] { return timed([&] { dense_.forward(x_).backward(gradient_); }); }});
    c.finish = [&](Row& row) {
      const double flops = 3.0 * 2 * static_cast<double>(rows) * kTopK * 3 * kWidth * kIntermediate;
      row.limit_share = 1000 * flops / session_.limits().gemm_flops / row.ours_ms;
      row.more = {{"threads", session_.threads()}, {"clock", "wall"}, {"limit", "its matrix products at the measured rate"}};
    };
    session_.compare(c);
  }

  void route(int64_t rows) {
    Comparison c;
    c.name = "routing + permutation, forward + backward";
    c.shape = str(rows, " tokens; width ", kWidth, ", ", kExperts, " experts, top-", kTopK);
    const int64_t calls = kRoutedRows / rows;
    const auto call = [&] {
      const moe::Routing routing = layer_.router().forward(x_);
      const moe::Dispatch dispatch = moe::plan_dispatch(routing.experts_TK, kExperts);
      moe::combine_rows(moe::gather_rows(x_, dispatch), routing.weights_TK, dispatch).backward(gradient_);
    };
    c.ours = [&] {
      double seconds = 0;
      for (int64_t i = 0; i < calls; ++i) seconds += timed(call);
      return seconds / static_cast<double>(calls);
    };
    c.sides = {{"transformers grouped_mm without its products", [&] { return peer_->seconds("train", {{"block", "chain"}, {"calls", calls}}); }}};
    c.finish = [&](Row& row) {
      // Forward and backward each read and write the rows once sorted and once in order.
      const double bytes = 2.0 * (2 + 2 * kTopK) * static_cast<double>(rows) * kWidth * sizeof(float);
      row.limit_share = 1000 * bytes / session_.limits().copy_bytes_per_second / row.ours_ms;
      row.more = {{"threads", session_.threads()}, {"clock", "wall"}, {"limit", "its traffic at the bandwidth of a copy"}};
    };
    session_.compare(c);
  }

  void decode(int64_t rows) {
    Comparison c;
    c.name = "MoE layer, forward";
    c.shape = str(rows, rows == 1 ? " token" : " tokens", "; width ", kWidth, ", ", kExperts, " experts of ", kIntermediate, ", top-", kTopK);
    c.ours = [&] {
      const torch::NoGradGuard no_grad;
      return wall_seconds([&] {
               for (int64_t i = 0; i < kCalls; ++i) layer_.forward(x_);
             }) / kCalls;
    };
    for (const std::string block : {"batched_mm", "eager"}) {
      const int64_t calls = block == "batched_mm" ? 5 : kCalls;  // which takes up to 0.15 s a call
      c.sides.push_back({"transformers Mixtral, " + block, [this, block, calls] {
                           return peer_->seconds("forward", {{"block", block}, {"calls", calls}}) / static_cast<double>(calls);
                         }});
    }
    c.finish = [&](Row& row) { row.more = {{"threads", session_.threads()}, {"clock", "wall"}}; };
    session_.compare(c);
  }

 private:
  double timed(const std::function<void()>& work) {
    const double seconds = wall_seconds(work);
    clear();
    return seconds;
  }
  void clear() {
    x_.mutable_grad().reset();
    layer_.zero_grad();
    dense_.zero_grad();
  }

  Session& session_;
  ScratchFolder folder_;
  std::unique_ptr<Peer> peer_;
  moe::MoeLayer layer_;
  nn::SwiGlu dense_;
  Tensor x_, gradient_;
};

}  // namespace

void bench_moe(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  torch::manual_seed(4);
  Bench bench(session);
  session.limits();
  for (const int64_t rows : {512, 2048, 8192}) {
    bench.set_rows(rows);
    session.attempt("MoE layer", str(rows, " tokens"), [&] {
      bench.check();
      bench.train(rows);
      bench.route(rows);
    });
  }
  for (const int64_t rows : {1, 4, 16}) {
    bench.set_rows(rows);
    session.attempt("MoE layer", str(rows, " tokens, forward"), [&] {
      bench.check();
      bench.decode(rows);
    });
  }
}

}  // namespace mose::bench
