#include <gtest/gtest.h>

#include <numeric>

#include "moe/swiglu.h"
#include "moe_test_util.h"
#include "mose/core/error.h"

namespace mose::moe {
namespace {

using testing::largest_difference;
using torch::Tensor;

struct Case {
  std::vector<int64_t> counts;
  int64_t width, intermediate;
};

// Each expert as plain linear operations under autograd.
Tensor reference(const Tensor& rows, const Tensor& gate_up, const Tensor& down, const std::vector<int64_t>& counts) {
  std::vector<Tensor> parts;
  int64_t begin = 0;
  for (size_t e = 0; e < counts.size(); ++e) {
    const int64_t f = down.size(2);
    const Tensor x = rows.narrow(0, begin, counts[e]), w = gate_up[static_cast<int64_t>(e)];
    const Tensor gate = at::matmul(x, w.narrow(0, 0, f).t()), up = at::matmul(x, w.narrow(0, f, f).t());
    parts.push_back(at::matmul(gate * torch::sigmoid(gate) * up, down[static_cast<int64_t>(e)].t()));
    begin += counts[e];
  }
  return torch::cat(parts);
}

class StackedSwiglu : public ::testing::TestWithParam<std::tuple<GroupedProduct, Case>> {};

TEST_P(StackedSwiglu, EqualsALoopOfLinearOperations) {
  const auto& [product, c] = GetParam();
  torch::manual_seed(1);
  const int64_t experts = static_cast<int64_t>(c.counts.size());
  const int64_t total = std::accumulate(c.counts.begin(), c.counts.end(), int64_t{0});
  // _grouped_mm knows no float64, so that form is held to float32's precision.
  const auto type = product == GroupedProduct::kLoop ? torch::kFloat64 : torch::kFloat32;
  const double tolerance = product == GroupedProduct::kLoop ? 1e-12 : 2e-4;
  const Tensor rows = torch::randn({total, c.width}, type).requires_grad_();
  const Tensor gate_up = torch::randn({experts, 2 * c.intermediate, c.width}, type).requires_grad_();
  const Tensor down = torch::randn({experts, c.width, c.intermediate}, type).requires_grad_();
  const Tensor grad = torch::randn({total, c.width}, type);

  const Tensor out = stacked_swiglu(rows, gate_up, down, c.counts, product);
  const Tensor want = reference(rows, gate_up, down, c.counts);
  ASSERT_EQ(out.sizes(), want.sizes());
  const auto ours = torch::autograd::grad({out}, {rows, gate_up, down}, {grad});
  const auto theirs = torch::autograd::grad({want}, {rows, gate_up, down}, {grad});
  if (total > 0) {
    EXPECT_LT(largest_difference(out, want) / want.abs().max().item<double>(), tolerance);
  }
  for (size_t i = 0; i < 3; ++i) {
    if (theirs[i].numel() == 0) continue;
    const double scale = std::max(1.0, theirs[i].abs().max().item<double>());
    EXPECT_LT(largest_difference(ours[i], theirs[i]) / scale, tolerance) << "gradient " << i;
  }
  // Nothing depends on what memory held or on threads: again, bit for bit.
  const Tensor again = stacked_swiglu(rows, gate_up, down, c.counts, product);
  EXPECT_TRUE(torch::equal(again, out));
  const auto twice = torch::autograd::grad({again}, {rows, gate_up, down}, {grad});
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(torch::equal(twice[i], ours[i]));
}

INSTANTIATE_TEST_SUITE_P(
    Loop, StackedSwiglu,
    ::testing::Combine(::testing::Values(GroupedProduct::kLoop),
                       ::testing::Values(Case{{3, 5, 2}, 7, 5}, Case{{0, 4, 0, 1, 0}, 9, 3}, Case{{0, 37, 0}, 6, 11},
                                         Case{{1}, 1, 1}, Case{{0, 0}, 4, 4}, Case{{64, 1, 17, 0}, 24, 40})));
INSTANTIATE_TEST_SUITE_P(
    Grouped, StackedSwiglu,  // 16-byte strides
    ::testing::Combine(::testing::Values(GroupedProduct::kGrouped),
                       ::testing::Values(Case{{3, 5, 4}, 8, 12}, Case{{0, 4, 0, 8, 0}, 8, 4}, Case{{0, 36, 0}, 4, 8})));

TEST(StackedSwigluGradients, AgreeWithFiniteDifferences) {
  torch::manual_seed(2);
  const std::vector<int64_t> counts{2, 0, 3};
  std::vector<Tensor> in{torch::randn({5, 3}, torch::kFloat64), torch::randn({3, 4, 3}, torch::kFloat64),
                         torch::randn({3, 3, 2}, torch::kFloat64)};
  const Tensor weight = torch::randn({5, 3}, torch::kFloat64);
  auto value = [&] { return (stacked_swiglu(in[0], in[1], in[2], counts, GroupedProduct::kLoop) * weight).sum(); };
  for (Tensor& t : in) t.requires_grad_();
  const auto grads = torch::autograd::grad({value()}, in);
  const torch::NoGradGuard no_grad;
  for (size_t i = 0; i < in.size(); ++i) {
    const Tensor flat = in[i].view({-1}), grad = grads[i].reshape({-1});
    for (int64_t j = 0; j < flat.numel(); ++j) {
      const double x = flat[j].item<double>(), h = 1e-6;
      flat[j] = x + h;
      const double above = value().item<double>();
      flat[j] = x - h;
      const double below = value().item<double>();
      flat[j] = x;
      EXPECT_NEAR(grad[j].item<double>(), (above - below) / (2 * h), 1e-6);
    }
  }
}

TEST(StackedSwigluGradients, OnlyWhatIsAskedForIsComputed) {
  const Tensor rows = torch::randn({4, 3}), gate_up = torch::randn({2, 4, 3}), down = torch::randn({2, 3, 2}).requires_grad_();
  stacked_swiglu(rows, gate_up, down, {1, 3}, GroupedProduct::kLoop).sum().backward();
  EXPECT_TRUE(down.grad().defined());
  EXPECT_FALSE(rows.grad().defined());
  // A frozen stack under rows that need gradient.
  const Tensor x = torch::randn({4, 3}).requires_grad_();
  stacked_swiglu(x, gate_up, down.detach(), {1, 3}, GroupedProduct::kLoop).sum().backward();
  EXPECT_TRUE(x.grad().defined());
}

TEST(Experts, AreNamedAndShapedAsTransformersDoes) {
  const auto experts = make_experts(3, 8, 6);
  const auto p = experts->named_parameters();
  EXPECT_EQ(p["gate_up_proj"].sizes(), torch::IntArrayRef({3, 12, 8}));
  EXPECT_EQ(p["down_proj"].sizes(), torch::IntArrayRef({3, 8, 6}));
}

TEST(Experts, KeepTheTypeOfTheRows) {
  const auto experts = make_experts(2, 8, 16);
  const Tensor rows = torch::randn({5, 8});
  const Tensor exact = experts->forward(rows, {2, 3});
  const Tensor half = experts->forward(rows.to(torch::kBFloat16), {2, 3});
  EXPECT_EQ(half.scalar_type(), torch::kBFloat16);
  EXPECT_LT(largest_difference(half, exact), 0.02);
  experts->to(torch::kBFloat16);
  EXPECT_EQ(experts->forward(rows, {2, 3}).scalar_type(), torch::kFloat32);
}

TEST(Experts, RefuseCountsThatDoNotFit) {
  const auto experts = make_experts(2, 8, 16);
  EXPECT_THROW(experts->forward(torch::randn({5, 8}), {2, 2}), Error);
  EXPECT_THROW(experts->forward(torch::randn({5, 8}), {5}), Error);
  EXPECT_THROW(experts->forward(torch::randn({5, 7}), {2, 3}), Error);
  EXPECT_THROW(make_experts(2, 8, 0), UsageError);
}

}  // namespace
}  // namespace mose::moe
