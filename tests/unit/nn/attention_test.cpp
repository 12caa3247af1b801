#include "mose/nn/attention.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "mose/core/error.h"
#include "mose/nn/layers.h"
#include "support/devices.h"

namespace mose::nn {
namespace {

using torch::Tensor;

// Row by row, in plain loops of float64: softmax(q k / sqrt(d)) v over earlier rows of the sequence.
Tensor reference(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<int64_t>& offsets, int64_t window = 1 << 30) {
  const int64_t H = q.size(1), groups = H / k.size(1), d = q.size(2);
  auto out = torch::zeros_like(q);
  for (size_t n = 0; n + 1 < offsets.size(); ++n) {
    for (int64_t t = offsets[n]; t < offsets[n + 1]; ++t) {
      for (int64_t h = 0; h < H; ++h) {
        std::vector<double> scores;
        double sum = 0;
        const int64_t first = std::max(offsets[n], t - window + 1);
        for (int64_t s = first; s <= t; ++s) {
          scores.push_back(std::exp((q[t][h] * k[s][h / groups]).sum().item<double>() / std::sqrt(double(d))));
          sum += scores.back();
        }
        for (int64_t s = first; s <= t; ++s) {
          out[t][h] += scores[static_cast<size_t>(s - first)] / sum * v[s][h / groups];
        }
      }
    }
  }
  return out;
}

struct Inputs {
  Tensor q, k, v;
};
Inputs random_inputs(int64_t T, int64_t H, int64_t K, int64_t d) {
  torch::manual_seed(3);
  const auto o = torch::dtype(torch::kFloat64);
  return {torch::randn({T, H, d}, o), torch::randn({T, K, d}, o), torch::randn({T, K, d}, o)};
}

TEST(PackedAttention, RowsSeeOnlyEarlierRowsOfTheirOwnSequence) {
  const auto in = random_inputs(11, 6, 2, 5);
  const auto plan = make_plan({4, 1, 6});
  const auto out = packed_attention(in.q, in.k, in.v, plan);
  EXPECT_TRUE(torch::allclose(out, reference(in.q, in.k, in.v, plan.offsets), 1e-9, 1e-9));
}

TEST(PackedAttention, AWindowHidesRowsFurtherBack) {
  const auto in = random_inputs(11, 4, 2, 5);
  const auto plan = make_plan({3, 8});
  for (const int64_t window : {1, 3, 8, 20}) {
    const auto out = packed_attention(in.q, in.k, in.v, plan, window);
    EXPECT_TRUE(torch::allclose(out, reference(in.q, in.k, in.v, plan.offsets, window), 1e-9, 1e-9)) << window;
  }
}

TEST(PackedAttention, InBfloat16EqualsFloat64WithinItsRounding) {
  const auto in = random_inputs(1300, 6, 2, 40);
  const auto weight = torch::randn_like(in.q);
  const auto plan = make_plan({33, 100, 31, 1, 1030, 105});  // few rows, many, and more than whose scores are held
  for (const int64_t window : {0, 50}) {
    const auto run = [&](torch::Dtype type) {
      std::vector<Tensor> inputs;
      for (const auto& t : {in.q, in.k, in.v}) inputs.push_back(t.to(torch::kBFloat16).to(type).requires_grad_());
      auto out = packed_attention(inputs[0], inputs[1], inputs[2], plan, window);
      (out * weight.to(torch::kBFloat16).to(type)).sum().backward();
      std::vector<Tensor> found = {out.detach()};
      for (const auto& t : inputs) found.push_back(t.grad());
      return found;
    };
    const auto found = run(torch::kBFloat16), expected = run(torch::kFloat64);
    for (size_t i = 0; i < found.size(); ++i) {
      const double error = ((found[i].to(torch::kFloat64) - expected[i]).norm() / expected[i].norm()).item<double>();
      EXPECT_LT(error, 0.01) << "window " << window << ", tensor " << i;  // units of the type are 2^-8
    }
  }
}

TEST(PackedAttention, RefusesAPlanOfAnotherLength) {
  const auto in = random_inputs(5, 2, 2, 4);
  EXPECT_THROW(packed_attention(in.q, in.k, in.v, make_plan({4})), Error);
}

class KvCacheWindow : public ::testing::TestWithParam<int64_t> {};
INSTANTIATE_TEST_SUITE_P(Windows, KvCacheWindow, ::testing::Values(0, 1, 2, 4));

TEST_P(KvCacheWindow, PrefillAndSingleRowsEqualOnePass) {
  const auto in = random_inputs(12, 4, 2, 6);  // two sequences of 7 and 5 rows
  const auto whole = packed_attention(in.q, in.k, in.v, make_plan({7, 5}), GetParam());
  KvCache cache(1, 2, 2, 8, 6, torch::dtype(torch::kFloat64));
  // rows of both sequences [from, to) of each
  auto rows = [](const Tensor& x, int64_t a0, int64_t a1, int64_t b0, int64_t b1) {
    return torch::cat({x.slice(0, a0, a1), x.slice(0, 7 + b0, 7 + b1)});
  };
  std::vector<Tensor> outputs;
  auto step = [&](int64_t a0, int64_t a1, int64_t b0, int64_t b1) {
    const auto plan = make_plan({a1 - a0, b1 - b0}, torch::kCPU, cache.lengths());
    const auto out = cache.attend(0, rows(in.q, a0, a1, b0, b1), rows(in.k, a0, a1, b0, b1), rows(in.v, a0, a1, b0, b1), plan, GetParam());
    cache.advance(plan);
    EXPECT_TRUE(torch::allclose(out, rows(whole, a0, a1, b0, b1), 1e-9, 1e-9)) << a0 << " " << b0;
  };
  step(0, 3, 0, 2);  // prefill
  step(3, 4, 2, 3);  // one row each
  step(4, 6, 3, 4);  // several rows on top of a filled cache
  step(6, 7, 4, 5);
  EXPECT_EQ(cache.lengths(), (std::vector<int64_t>{7, 5}));
}

// Rows [from, to) of sequence n of two that are 7 and 5 rows long.
Tensor part(const Tensor& x, int64_t n, int64_t from, int64_t to) { return x.slice(0, 7 * n + from, 7 * n + to); }

TEST_P(KvCacheWindow, SequencesRunInAnyPlaceAndMove) {
  const auto in = random_inputs(12, 4, 2, 6);
  const auto whole = packed_attention(in.q, in.k, in.v, make_plan({7, 5}), GetParam());
  KvCache cache(1, 4, 2, 4, 6, torch::dtype(torch::kFloat64));
  struct Piece {
    int64_t place, sequence, from, to;
  };
  const auto step = [&](const std::vector<Piece>& pieces) {
    std::vector<int64_t> places, lengths, starts;
    std::vector<Tensor> q, k, v, expected;
    for (const auto& p : pieces) {
      places.push_back(p.place);
      lengths.push_back(p.to - p.from);
      starts.push_back(p.from);
      q.push_back(part(in.q, p.sequence, p.from, p.to));
      k.push_back(part(in.k, p.sequence, p.from, p.to));
      v.push_back(part(in.v, p.sequence, p.from, p.to));
      expected.push_back(part(whole, p.sequence, p.from, p.to));
    }
    cache.run(places);
    const auto plan = make_plan(lengths, torch::kCPU, starts);
    const auto out = cache.attend(0, torch::cat(q), torch::cat(k), torch::cat(v), plan, GetParam());
    cache.advance(plan);
    EXPECT_TRUE(torch::allclose(out, torch::cat(expected), 1e-9, 1e-9));
  };
  step({{3, 0, 0, 3}});
  step({{1, 1, 0, 2}});
  step({{3, 0, 3, 4}, {1, 1, 2, 3}});  // single rows, places in no order
  cache.reserve(8);
  cache.begin(0, 3, 4);  // the first sequence moves
  step({{0, 0, 4, 5}, {1, 1, 3, 4}});  // single rows of the places from 0 on
  cache.begin(2, 0, 3);  // another begins as it did
  step({{2, 0, 3, 6}, {1, 1, 4, 5}});
  cache.begin(1, 1, 0);  // a place is used again
  step({{1, 0, 0, 7}});
  EXPECT_EQ(cache.lengths(), (std::vector<int64_t>{5, 7, 6, 4}));
  EXPECT_THROW(cache.begin(2, 3, 5), Error);
  EXPECT_THROW(cache.run({4}), Error);
}

// Decoding steps of many sequences side by side, on a GPU by its own kernels, against one pass over each in float64.
class CachedRows : public OnDevice {};
MOSE_ON_DEVICES(CachedRows);

TEST_P(CachedRows, SingleRowsEqualOnePassAndRepeatBitForBit) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t window : {0, 5}) {
      for (const int64_t width : {16, 6}) {
        torch::manual_seed(3);
        const std::vector<int64_t> lengths = {1, 70, 200, 130};
        const auto whole = make_plan(lengths);
        const auto drawn = [&](int64_t heads) { return torch::randn({whole.tokens(), heads, width}).to(type); };
        const Tensor q = drawn(4), k = drawn(2), v = drawn(2);
        const auto exact = [](const Tensor& x) { return x.to(torch::kFloat64); };
        const Tensor want = packed_attention(exact(q), exact(k), exact(v), whole, window);
        const std::vector<int64_t> places = {4, 0, 3, 2};
        const auto run = [&] {
          KvCache cache(1, 5, 2, 256, width, torch::dtype(type).device(device()));
          std::vector<int64_t> starts;
          for (const int64_t length : lengths) starts.push_back(length - 1);
          std::vector<Tensor> last_q, last_k, last_v;
          for (size_t n = 0; n < lengths.size(); ++n) {
            const int64_t begin = whole.offsets[n], end = whole.offsets[n + 1] - 1;
            last_q.push_back(q.slice(0, end, end + 1));
            last_k.push_back(k.slice(0, end, end + 1));
            last_v.push_back(v.slice(0, end, end + 1));
            if (begin == end) continue;
            cache.run({places[n]});
            const auto plan = make_plan({end - begin}, device());
            const auto part = [&](const Tensor& x) { return x.slice(0, begin, end).to(device()); };
            cache.attend(0, part(q), part(k), part(v), plan, window);
            cache.advance(plan);
          }
          cache.run(places);
          const auto plan = make_plan({1, 1, 1, 1}, device(), starts);
          const auto rows = [&](const std::vector<Tensor>& x) { return torch::cat(x).to(device()); };
          return cache.attend(0, rows(last_q), rows(last_k), rows(last_v), plan, window).cpu();
        };
        const Tensor out = run();
        EXPECT_TRUE(torch::equal(out, run()));
        for (size_t n = 0; n < lengths.size(); ++n) {
          const Tensor row = want[whole.offsets[n + 1] - 1];
          EXPECT_LT((out[static_cast<int64_t>(n)].to(torch::kFloat64) - row).abs().max().item<double>(), type == torch::kFloat32 ? 1e-5 : 0.02)
              << "sequence " << n << ", window " << window << ", width " << width;
        }
      }
    }
  }
}

// The CPU's kernel of single rows, which float64 does without.
TEST(KvCache, SingleRowsInShortTypesEqualALoop) {
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    for (const int64_t window : {0, 3}) {
      torch::manual_seed(4);
      constexpr int64_t kRows = 21, kHeads = 6, kKeyHeads = 2, d = 20;
      const auto draw = [&](int64_t heads) { return torch::randn({2 * kRows, heads, d}).to(type); };
      const Tensor q = draw(kHeads), k = draw(kKeyHeads), v = draw(kKeyHeads);
      const auto exact = [](const Tensor& t) { return t.to(torch::kFloat64); };
      const Tensor wanted = reference(exact(q), exact(k), exact(v), {0, kRows, 2 * kRows}, window > 0 ? window : 1 << 30);
      KvCache cache(1, 3, kKeyHeads, kRows, d, torch::dtype(type));
      cache.run({2, 0});
      for (int64_t t = 0; t < kRows; ++t) {
        const auto rows = [&](const Tensor& x) { return torch::stack({x[t], x[kRows + t]}); };
        const auto plan = make_plan({1, 1}, torch::kCPU, {t, t});
        const Tensor out = cache.attend(0, rows(q), rows(k), rows(v), plan, window);
        cache.advance(plan);
        EXPECT_EQ(out.scalar_type(), type);
        EXPECT_TRUE(torch::allclose(exact(out), rows(wanted), 0, type == torch::kFloat32 ? 1e-5 : 2e-2)) << type << " " << window << " " << t;
      }
    }
  }
}

TEST(KvCache, RefusesMoreThanItsCapacity) {
  const auto in = random_inputs(3, 2, 2, 4);
  KvCache cache(1, 1, 2, 2, 4, torch::dtype(torch::kFloat64));
  EXPECT_THROW(cache.attend(0, in.q, in.k, in.v, make_plan({3})), Error);
}

TEST(RmsNorm, DividesByTheRootMeanSquare) {
  RmsNorm norm(3, 0.0);
  const auto out = norm.forward(torch::tensor({{1.0f, 2.0f, 2.0f}}));
  const double rms = std::sqrt((1.0 + 4 + 4) / 3);
  EXPECT_NEAR(out[0][0].item<double>(), 1 / rms, 1e-6);
  EXPECT_NEAR(out[0][2].item<double>(), 2 / rms, 1e-6);
}

TEST(SequencePlan, PositionsRestartOrContinue) {
  EXPECT_TRUE(torch::equal(make_plan({2, 3}).positions_T, torch::tensor({0, 1, 0, 1, 2})));
  EXPECT_TRUE(torch::equal(make_plan({1, 2}, torch::kCPU, {5, 7}).positions_T, torch::tensor({5, 7, 8})));
  EXPECT_THROW(make_plan({2, 0}), Error);
}

}  // namespace
}  // namespace mose::nn
