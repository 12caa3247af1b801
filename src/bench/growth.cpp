// How time grows with size: rows of one series against its smallest size, so that the ratio is the growth's inverse.
#include <ATen/Parallel.h>

#include "bench/session.h"
#include "bench/shape_r.h"
#include "mose/core/strings.h"
#include "mose/moe/layer.h"
#include "mose/nn/attention.h"

namespace mose::bench {
namespace {

using torch::Tensor;

constexpr int64_t kRepetitions = 3, kHeads = 8, kKvHeads = 4, kHeadWidth = kWidth / kHeads;

struct Point {
  int64_t size;
  std::function<void()> work;
};

// The series' points one after the other; `axis` names what `size` counts.
void compare_series(Session& session, const std::string& what, const std::string& axis, const std::string& shape,
                    const std::vector<Point>& points) {
  const auto timed = [](const Point& point) {
    return [&point] {
      const torch::NoGradGuard no_grad;
      return wall_seconds(point.work);
    };
  };
  for (const Point& point : points) {
    Comparison c;
    c.name = str("growth: ", what, " by ", axis);
    c.shape = str(point.size, " ", axis, "; ", shape);
    c.ours = timed(point);
    c.repetitions = kRepetitions;
    c.sides = {{str("ours, ", points[0].size, " ", axis), timed(points[0])}};
    c.finish = [&](Row& row) { row.more = {{"threads", session.threads()}, {"clock", "wall"}, {"axis", axis}, {"size", point.size}}; };
    session.compare(c);
  }
}

std::shared_ptr<moe::MoeLayer> make_layer(int64_t experts) {
  moe::Config config;
  config.experts = experts;
  config.top_k = kTopK;
  config.router = "topk";
  return std::make_shared<moe::MoeLayer>(config, kWidth, kIntermediate, moe::SkillMap{});
}

void moe_by_tokens(Session& session) {
  const auto layer = make_layer(kExperts);
  std::vector<Point> points;
  for (int64_t tokens = 1024; tokens <= 32768; tokens *= 2) {
    points.push_back({tokens, [layer, x = torch::randn({tokens, kWidth})] { layer->forward(x); }});
  }
  compare_series(session, "MoE layer, forward", "tokens", str("width ", kWidth, ", ", kExperts, " experts of ", kIntermediate, ", top-", kTopK), points);
}

void moe_by_experts(Session& session) {
  const Tensor x = torch::randn({2048, kWidth});
  std::vector<Point> points;
  for (int64_t experts = 2; experts <= 64; experts *= 2) {
    points.push_back({experts, [layer = make_layer(experts), x] { layer->forward(x); }});
  }
  compare_series(session, "MoE layer, forward", "experts", str(x.size(0), " tokens, width ", kWidth, ", experts of ", kIntermediate, ", top-", kTopK), points);
}

void attention_by_length(Session& session) {
  std::vector<Point> points;
  for (int64_t length = 256; length <= 8192; length *= 2) {
    const Tensor q = torch::randn({length, kHeads, kHeadWidth}), k = torch::randn({length, kKvHeads, kHeadWidth});
    points.push_back({length, [q, k, v = torch::randn_like(k), plan = nn::make_plan({length})] { nn::packed_attention(q, k, v, plan); }});
  }
  compare_series(session, "causal attention, forward", "rows", str("one sequence, ", kHeads, " heads of ", kHeadWidth, ", ", kKvHeads, " of keys"), points);
}

void decoder_by_batch(Session& session) {
  constexpr int64_t kLength = 128;
  const ShapeR shape = make_shape_r();
  std::vector<Point> points;
  for (int64_t batch = 1; batch <= 16; batch *= 2) {
    const Tensor tokens = torch::randint(shape.model->config().language.vocab_size, {batch * kLength}, torch::kInt64);
    const auto plan = nn::make_plan(std::vector<int64_t>(static_cast<size_t>(batch), kLength));
    points.push_back({batch, [model = shape.model, tokens, plan] { model->forward(tokens, plan, {}); }});
  }
  compare_series(session, "decoder, forward", "sequences", str("of ", kLength, " tokens, ", shape.about()), points);
}

}  // namespace

void bench_growth(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  torch::manual_seed(9);
  moe_by_tokens(session);
  moe_by_experts(session);
  attention_by_length(session);
  decoder_by_batch(session);
}

}  // namespace mose::bench
