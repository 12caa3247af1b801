// The GPU's kernels themselves, run by the CPU (support/cuda_on_cpu.h), against float64 and plain sorts.
#include <gtest/gtest.h>
#include <torch/torch.h>

#include "moe/cuda/few_rows.cu"
#include "moe/cuda/move.cu"
#include "moe/cuda/place.cu"
#include "moe/cuda/route.cu"
#include "support/kernels.h"

namespace mose::moe::cuda {
namespace {

using tests::data;
using tests::difference;
using tests::for_types;
using tests::in_any_order;
using tests::unwritten;
using torch::Tensor;

Tensor stable_order(const Tensor& values, bool descending) {
  return std::get<1>(torch::sort(values, /*stable=*/true, values.dim() - 1, descending));
}

struct Shape {
  int64_t tokens, experts, k;
};
// One of everything, all experts chosen, lanes of a warp with none, one, and several experts, more rows than one
// block's.
const std::vector<Shape> kShapes = {{1, 1, 1}, {3, 4, 2}, {9, 4, 4}, {17, 33, 3}, {5, 70, 70}, {2, 1024, 5}};

TEST(Route, SoftmaxChoiceAndWeightsWithTheirGradients) {
  for (const Shape& s : kShapes) {
    for (const bool softmax : {true, false}) {
      for (const bool normalise : {true, false}) {
        torch::manual_seed(1);
        const Tensor logits = 3 * torch::randn({s.tokens, s.experts}), values = softmax ? logits : logits.softmax(1);
        const Tensor grad_p = torch::randn({s.tokens, s.experts}), grad_w = torch::randn({s.tokens, s.k});
        const auto out = in_any_order([&] {
          const Tensor p = softmax ? unwritten({s.tokens, s.experts}) : values, w = unwritten({s.tokens, s.k}),
                       grad = unwritten({s.tokens, s.experts}),
                       chosen = torch::full({s.tokens, s.k}, -1, torch::kInt64),
                       of_weights = unwritten({s.tokens, s.experts}), of_p = unwritten({s.tokens, s.experts});
          route(nullptr, data<float>(values), softmax ? data<float>(p) : nullptr, data<int64_t>(chosen), data<float>(w),
                normalise, s.tokens, s.experts, s.k);
          const auto backward = [&](const float* dp, const float* dw, const Tensor& into) {
            route_backward(nullptr, dp, dw, data<float>(p), data<int64_t>(chosen), softmax, normalise,
                           data<float>(into), s.tokens, s.experts, s.k);
          };
          backward(data<float>(grad_p), data<float>(grad_w), grad);
          backward(nullptr, data<float>(grad_w), of_weights);
          backward(data<float>(grad_p), nullptr, of_p);
          EXPECT_LT(difference(of_weights + of_p, grad), 1e-5);
          return std::vector<Tensor>{p, chosen, w, grad};
        });
        // Chosen by the probabilities as they were rounded, since nearly equal ones may change places.
        EXPECT_TRUE(torch::equal(out[1], stable_order(out[0], true).narrow(1, 0, s.k)));
        const Tensor in = values.to(torch::kFloat64).requires_grad_(), p = softmax ? in.softmax(1) : in,
                     top = p.gather(1, out[1]);
        const Tensor w = normalise ? top / top.sum(1, true) : top;
        EXPECT_LT(difference(out[0], p), 1e-6);
        EXPECT_LT(difference(out[2], w), 1e-6);
        const Tensor exact = torch::autograd::grad({(p * grad_p).sum() + (w * grad_w).sum()}, {in})[0];
        EXPECT_LT(difference(out[3], exact), 1e-5)
            << s.experts << " experts, softmax " << softmax << ", normalise " << normalise;
      }
    }
  }
}

TEST(Route, EqualValuesGoToTheLowerExpert) {
  torch::manual_seed(2);
  const Tensor values = torch::randint(0, 3, {20, 40}).to(torch::kFloat32);
  const Tensor chosen = in_any_order([&] {
    const Tensor out = torch::full({20, 7}, -1, torch::kInt64);
    route(nullptr, data<float>(values), nullptr, data<int64_t>(out), nullptr, false, 20, 40, 7);
    return std::vector<Tensor>{out};
  })[0];
  EXPECT_TRUE(torch::equal(chosen, stable_order(values, true).narrow(1, 0, 7)));
}

TEST(Route, NotANumberStillGivesDifferentExperts) {
  const Tensor values = torch::tensor({{NAN, NAN, NAN, NAN}, {NAN, 1.f, NAN, 2.f}}),
               chosen = torch::full({2, 3}, -1, torch::kInt64), weights = unwritten({2, 3});
  route(nullptr, data<float>(values), nullptr, data<int64_t>(chosen), data<float>(weights), true, 2, 4, 3);
  EXPECT_TRUE(torch::equal(chosen, torch::tensor({{0, 1, 2}, {3, 1, 0}}, torch::kInt64)));
  EXPECT_TRUE(weights.isnan().all().item<bool>());  // and the loss tells
}

void expect_sorted(const Tensor& chosen_TK, int64_t experts) {
  const int64_t choices = chosen_TK.numel(), k = chosen_TK.size(1);
  const auto out = in_any_order([&] {
    const Tensor counts = torch::full({experts * (choices / kPlaceBlock + 1)}, -9, torch::kInt32),
                 ends = torch::full({experts}, -9, torch::kInt32);
    const Tensor row = torch::full_like(chosen_TK, -9), token = torch::full({choices}, -9, torch::kInt64);
    place(nullptr, data<int64_t>(chosen_TK), data<int>(counts), data<int64_t>(row), data<int64_t>(token),
          data<int>(ends), choices, experts, k);
    return std::vector<Tensor>{row, token, ends};
  });
  const Tensor order = stable_order(chosen_TK.flatten(), false);
  EXPECT_TRUE(torch::equal(out[1], torch::floor_divide(order, k)));
  EXPECT_TRUE(torch::equal(out[0].flatten().index_select(0, order), torch::arange(choices)));
  for (int64_t e = 0; e < experts; ++e)
    EXPECT_EQ(out[2][e].item<int64_t>(), (chosen_TK <= e).sum().item<int64_t>()) << e;
}

TEST(Place, IsAStableCountingSort) {
  torch::manual_seed(3);
  for (const int64_t experts : {1, 3, 40}) {
    // Within a block, at its edges, over several.
    for (const int64_t choices : {1, 255, 256, 257, 1000})
      expect_sorted(torch::randint(experts, {choices, 1}, torch::kInt64), experts);
  }
  expect_sorted(torch::randint(1024, {257, 1}, torch::kInt64), 1024);
  expect_sorted(torch::randint(5, {100, 3}, torch::kInt64), 5);
  expect_sorted(torch::randint(4, {4500, 2}, torch::kInt64), 4);  // more blocks than a warp has lanes
  expect_sorted(torch::empty({0, 2}, torch::kInt64), 3);
}

TEST(Place, OneExpertMayHaveAllRows) {
  for (const int64_t e : {0, 2, 6}) expect_sorted(torch::full({300, 2}, e, torch::kInt64), 7);
}

TEST(Place, RefusesExpertsThatAreNotThere) {
  for (const int64_t e : {-1, 3}) {
    const Tensor chosen = torch::tensor({{int64_t{0}, e}}), counts = torch::empty({3}, torch::kInt32),
                 ends = torch::empty({3}, torch::kInt32), row = torch::empty({1, 2}, torch::kInt64),
                 token = torch::empty({2}, torch::kInt64);
    EXPECT_THROW(place(nullptr, data<int64_t>(chosen), data<int>(counts), data<int64_t>(row), data<int64_t>(token),
                       data<int>(ends), 2, 3, 2),
                 std::runtime_error);
  }
}

TEST(Move, RowsToExpertsAndBackWithTheirGradients) {
  for (const auto& [tokens, k] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {13, 2}, {6, 5}}) {
    for (const int64_t width : {1, 7, 8, 33, 2080}) {
      for_types([&, tokens = tokens, k = k]<class T>(T, torch::Dtype type, double tolerance) {
        torch::manual_seed(4);
        const Tensor row = torch::randperm(tokens * k, torch::kInt64).view({tokens, k});
        const Tensor x = torch::randn({tokens, width}).to(type), rows = torch::randn({tokens * k, width}).to(type),
                     w = torch::rand({tokens, k});
        const Tensor grad = torch::randn({tokens, width}).to(type);
        const auto out = in_any_order([&] {
          const Tensor moved = unwritten({tokens * k, width}, type), y = unwritten({tokens, width}, type),
                       sum = unwritten({tokens, width}, type), d_rows = unwritten({tokens * k, width}, type),
                       d_w = unwritten({tokens, k});
          scatter_rows(nullptr, data<T>(x), data<int64_t>(row), data<T>(moved), tokens, k, width);
          weighted_sum(nullptr, data<T>(rows), data<float>(w), data<int64_t>(row), data<T>(y), tokens, k, width);
          weighted_sum<T>(nullptr, data<T>(rows), nullptr, data<int64_t>(row), data<T>(sum), tokens, k, width);
          weighted_sum_backward(nullptr, data<T>(grad), data<T>(rows), data<float>(w), data<int64_t>(row),
                                data<T>(d_rows), data<float>(d_w), tokens, k, width);
          return std::vector<Tensor>{moved, y, sum, d_rows, d_w};
        });
        const Tensor token = torch::floor_divide(row.flatten().argsort(), k);
        EXPECT_TRUE(torch::equal(out[0], x.index_select(0, token)));
        const Tensor rows64 = rows.to(torch::kFloat64).requires_grad_(), w64 = w.to(torch::kFloat64).requires_grad_();
        const Tensor choices = rows64.index_select(0, row.flatten()).view({tokens, k, width}),
                     y = (choices * w64.unsqueeze(2)).sum(1);
        EXPECT_LT(difference(out[1], y), tolerance);
        EXPECT_LT(difference(out[2], choices.sum(1)), tolerance);
        const auto grads = torch::autograd::grad({y}, {rows64, w64}, {grad.to(torch::kFloat64)});
        EXPECT_LT(difference(out[3], grads[0]), tolerance);
        EXPECT_LT(difference(out[4], grads[1]), 2e-6);
      });
    }
  }
}

// sum_k weights expert(x) in float64, one choice at a time.
Tensor plain_experts(const Tensor& x, const Tensor& gate_up, const Tensor& down, const Tensor& chosen, const Tensor& weights) {
  const auto exact = [](const Tensor& t) { return t.to(torch::kFloat64); };
  const Tensor y = torch::zeros_like(exact(x));
  for (int64_t t = 0; t < chosen.size(0); ++t) {
    for (int64_t k = 0; k < chosen.size(1); ++k) {
      const int64_t e = chosen[t][k].item<int64_t>();
      const auto both = exact(gate_up[e]).mv(exact(x[t])).chunk(2);
      y[t] += weights[t][k].item<double>() * exact(down[e]).mv(both[0] * torch::sigmoid(both[0]) * both[1]);
    }
  }
  return y;
}

template <class T>
Tensor few_rows_of(const Tensor& x, const Tensor& gate_up, const Tensor& down, const Tensor& chosen, const Tensor& weights) {
  return in_any_order([&] {
    const Tensor hidden = unwritten({chosen.numel(), down.size(2)}, x.scalar_type()), out = unwritten(x.sizes(), x.scalar_type());
    few_rows(nullptr, data<T>(x), data<T>(gate_up), data<T>(down), data<int64_t>(chosen), data<float>(weights), data<T>(hidden), data<T>(out),
             x.size(0), chosen.size(1), gate_up.size(0), x.size(1), down.size(2));
    return std::vector<Tensor>{out};
  })[0];
}

TEST(FewRows, AreThoseOfEveryChoiceByItself) {
  struct Case {
    int64_t tokens, k, experts, width, intermediate;
  };
  // Widths of whole packs and of odd ones; experts without tokens; as many choices as there may be.
  for (const Case& c : std::vector<Case>{{1, 1, 1, 8, 8}, {1, 2, 4, 64, 40}, {3, 2, 9, 33, 5}, {16, 2, 4, 24, 8}, {7, 3, 3, 5, 1}, {16, 8, 8, 8, 3}}) {
    for_types([&]<class T>(T, torch::Dtype type, double tolerance) {
      torch::manual_seed(5);
      const Tensor x = torch::randn({c.tokens, c.width}).to(type), gate_up = (torch::randn({c.experts, 2 * c.intermediate, c.width}) / 3).to(type),
                   down = (torch::randn({c.experts, c.width, c.intermediate}) / 3).to(type), weights = torch::rand({c.tokens, c.k});
      const Tensor chosen = stable_order(torch::rand({c.tokens, c.experts}), true).narrow(1, 0, c.k).contiguous();
      EXPECT_LT(difference(few_rows_of<T>(x, gate_up, down, chosen, weights), plain_experts(x, gate_up, down, chosen, weights)), tolerance)
          << c.tokens << " tokens, " << c.experts << " experts, width " << c.width;
    });
  }
}

TEST(FewRows, OneExpertMayHaveAllChoices) {
  torch::manual_seed(6);
  for (const int64_t e : {0, 2}) {
    const Tensor x = torch::randn({16, 8}), gate_up = torch::randn({3, 8, 8}) / 3, down = torch::randn({3, 8, 4}) / 3, weights = torch::rand({16, 3}),
                 chosen = torch::full({16, 3}, e, torch::kInt64);
    EXPECT_LT(difference(few_rows_of<float>(x, gate_up, down, chosen, weights), plain_experts(x, gate_up, down, chosen, weights)), 2e-6);
  }
}

TEST(FewRows, AnExpertWithoutTokensIsNotRead) {
  torch::manual_seed(7);
  const Tensor x = torch::randn({2, 8}), gate_up = torch::randn({3, 16, 8}), down = torch::randn({3, 8, 8}), weights = torch::rand({2, 1}),
               chosen = torch::tensor({{0}, {2}}, torch::kInt64);
  gate_up[1].fill_(NAN);
  down[1].fill_(NAN);
  EXPECT_LT(difference(few_rows_of<float>(x, gate_up, down, chosen, weights), plain_experts(x, gate_up, down, chosen, weights)), 2e-6);
}

TEST(FewRows, RefuseExpertsThatAreNotThere) {
  for (const int64_t e : {-1, 3}) {
    const Tensor x = torch::zeros({1, 8}), gate_up = torch::zeros({3, 16, 8}), down = torch::zeros({3, 8, 8}), weights = torch::ones({1, 1}),
                 chosen = torch::full({1, 1}, e, torch::kInt64), hidden = torch::zeros({1, 8});
    EXPECT_THROW(few_rows(nullptr, data<float>(x), data<float>(gate_up), data<float>(down), data<int64_t>(chosen), data<float>(weights),
                          data<float>(hidden), data<float>(x), 1, 1, 3, 8, 8),
                 std::runtime_error);
  }
}

}  // namespace
}  // namespace mose::moe::cuda
