#include "mose/moe/dispatch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "moe/dispatch_cpu.h"
#include "moe_test_util.h"
#include "mose/core/error.h"
#include "support/devices.h"
#include "support/threads.h"

namespace mose::moe {
namespace {

using testing::largest_difference;
using ::testing::ElementsAre;

torch::Tensor random_choices(int64_t tokens, int64_t experts, int64_t k) {
  return std::get<1>(torch::rand({tokens, experts}).topk(k, 1));
}

class PlanDispatch : public OnDevice {
 protected:
  // Of choices on the device, the plan brought back.
  Dispatch plan(const torch::Tensor& experts_TK, int64_t experts) const {
    Dispatch d = plan_dispatch(experts_TK.to(device()), experts);
    const bool gpu = !device().is_cpu();
    EXPECT_EQ(d.ends_E.defined(), gpu);
    if (gpu) {
      const torch::Tensor ends = torch::tensor(d.counts_E).cumsum(0).to(torch::kInt32);
      EXPECT_TRUE(torch::equal(d.ends_E.cpu(), ends));
      const Dispatch unread = plan_dispatch(experts_TK.to(device()), experts, /*read_counts=*/false);
      EXPECT_TRUE(torch::equal(unread.ends_E, d.ends_E) && torch::equal(unread.row_TK, d.row_TK) && torch::equal(unread.token_R, d.token_R));
    }
    d.token_R = d.token_R.cpu();
    d.row_TK = d.row_TK.cpu();
    return d;
  }
};
class GatherAndCombine : public OnDevice {};
class TopKIndices : public OnDevice {};
MOSE_ON_DEVICES(PlanDispatch);
MOSE_ON_DEVICES(GatherAndCombine);
MOSE_ON_DEVICES(TopKIndices);

TEST_P(PlanDispatch, IsAStableCountingSort) {
  const torch::Tensor experts = torch::tensor({{2, 0}, {0, 2}, {3, 2}}, torch::kInt64);
  const Dispatch d = plan(experts, 5);
  EXPECT_THAT(d.counts_E, ElementsAre(2, 0, 3, 1, 0));
  EXPECT_TRUE(torch::equal(d.token_R, torch::tensor({0, 1, 0, 1, 2, 2}, torch::kInt64)));
  EXPECT_TRUE(torch::equal(d.row_TK, torch::tensor({{2, 0}, {1, 3}, {5, 4}}, torch::kInt64)));
}

TEST_P(PlanDispatch, EqualsAStableSort) {
  torch::manual_seed(1);
  const torch::Tensor experts = random_choices(257, 9, 3);
  const Dispatch d = plan(experts, 9);
  const auto [sorted, order] = torch::sort(experts.flatten(), /*stable=*/true, 0, false);
  EXPECT_TRUE(torch::equal(d.token_R, torch::floor_divide(order, 3)));
  EXPECT_TRUE(torch::equal(d.row_TK.flatten().index_select(0, order), torch::arange(257 * 3)));
  for (int64_t e = 0; e < 9; ++e) EXPECT_EQ(d.counts_E[static_cast<size_t>(e)], (experts == e).sum().item<int64_t>());
}

TEST_P(PlanDispatch, OneExpertMayHaveAllRows) {
  const Dispatch d = plan(torch::full({3000, 1}, 2, torch::kInt64), 4);
  EXPECT_THAT(d.counts_E, ElementsAre(0, 0, 3000, 0));
  EXPECT_TRUE(torch::equal(d.token_R, torch::arange(3000)));
  EXPECT_TRUE(torch::equal(d.row_TK.flatten(), torch::arange(3000)));
}

TEST(Dispatch, RefusesExpertsThatAreNotThere) {
  EXPECT_THROW(plan_dispatch(torch::tensor({{0, 3}}, torch::kInt64), 3), Error);
  EXPECT_THROW(plan_dispatch(torch::tensor({{0, -1}}, torch::kInt64), 3), Error);
  EXPECT_THROW(plan_dispatch(torch::tensor({{0, 1}}, torch::kInt32), 3), Error);
  EXPECT_THROW(plan_dispatch(torch::tensor({0, 1}, torch::kInt64), 3), Error);
}

TEST_P(PlanDispatch, NoTokensIsFine) {
  const Dispatch d = plan_dispatch(torch::empty({0, 2}, torch::kInt64).to(device()), 3);
  EXPECT_THAT(d.counts_E, ElementsAre(0, 0, 0));
  const torch::Tensor rows = gather_rows(torch::empty({0, 4}, device()), d);
  EXPECT_EQ(combine_rows(rows, torch::empty({0, 2}, device()), d).sizes(), torch::IntArrayRef({0, 4}));
}

// Values and gradients against plain indexing under autograd.
TEST_P(GatherAndCombine, EqualIndexingUnderAutograd) {
  for (const auto type : {torch::kFloat64, torch::kFloat32}) {
    for (const int64_t width : {1, 7, 8, 33, 300}) {
      torch::manual_seed(2);
      const Dispatch d = plan_dispatch(random_choices(50, 6, 2).to(device()), 6);
      const torch::Tensor x = torch::randn({50, width}, type).to(device()).requires_grad_();
      const torch::Tensor w = torch::rand({50, 2}).to(device()).requires_grad_();
      const torch::Tensor scale = torch::randn({100, width}, type).to(device()), grad = torch::randn({50, width}, type).to(device());

      const torch::Tensor y = combine_rows(gather_rows(x, d) * scale, w, d);
      const auto ours = torch::autograd::grad({y}, {x, w}, {grad});
      const torch::Tensor rows = x.index_select(0, d.token_R) * scale;
      const torch::Tensor want = (rows.index_select(0, d.row_TK.flatten()).view({50, 2, width}) * w.to(type).unsqueeze(2)).sum(1);
      const auto theirs = torch::autograd::grad({want}, {x, w}, {grad});

      const double tolerance = type == torch::kFloat64 ? 1e-12 : 1e-5;
      EXPECT_LT(largest_difference(y, want), tolerance);
      EXPECT_LT(largest_difference(ours[0], theirs[0]), tolerance);
      EXPECT_LT(largest_difference(ours[1], theirs[1]), width == 300 ? 5e-5 : 1e-5);  // weights are float32
      const auto again = torch::autograd::grad({combine_rows(gather_rows(x, d) * scale, w, d)}, {x, w}, {grad});
      EXPECT_TRUE(torch::equal(ours[0], again[0]) && torch::equal(ours[1], again[1]));
    }
  }
}

TEST_P(GatherAndCombine, SumBfloat16InFloat32) {
  torch::manual_seed(3);
  const Dispatch d = plan_dispatch(random_choices(20, 6, 4).to(device()), 6);
  const torch::Tensor rows = torch::randn({80, 16}).to(device(), torch::kBFloat16), w = torch::rand({20, 4}).to(device());
  const torch::Tensor y = combine_rows(rows, w, d);
  const torch::Tensor exact = (rows.to(torch::kFloat32).index_select(0, d.row_TK.flatten()).view({20, 4, 16}) * w.unsqueeze(2)).sum(1);
  EXPECT_EQ(y.scalar_type(), torch::kBFloat16);
  // Rounded once, at the end: half a unit in the last place, a little more where sums differ.
  EXPECT_TRUE(((y.to(torch::kFloat32) - exact).abs() <= exact.abs() * 0.0041 + 1e-6).all().item<bool>());
}

TEST_P(GatherAndCombine, OneChoiceIsAPermutationAndBack) {
  const Dispatch d = plan_dispatch(random_choices(31, 4, 1).to(device()), 4);
  const torch::Tensor x = torch::randn({31, 5}, device());
  EXPECT_TRUE(torch::equal(combine_rows(gather_rows(x, d), torch::ones({31, 1}, device()), d), x));
}

TEST(GatherAndCombineOnACpu, TheNumberOfThreadsChangesNoBit) {
  torch::manual_seed(5);
  const Dispatch d = plan_dispatch(random_choices(400, 6, 2), 6);
  for (const auto type : {torch::kFloat64, torch::kFloat32, torch::kBFloat16}) {
    const torch::Tensor x = torch::randn({400, 130}).to(type).requires_grad_(), w = torch::rand({400, 2}).requires_grad_(),
                        grad = torch::randn({400, 130}).to(type);
    const auto with_threads = [&](int threads) {
      const WithThreads set(threads);
      const torch::Tensor y = combine_rows(gather_rows(x, d), w, d);
      auto all = torch::autograd::grad({y}, {x, w}, {grad});
      all.push_back(y);
      return all;
    };
    const auto one = with_threads(1), three = with_threads(3);
    for (size_t i = 0; i < one.size(); ++i) EXPECT_TRUE(torch::equal(one[i], three[i])) << type << ", " << i;
  }
}

TEST_P(TopKIndices, EqualAStableSort) {
  torch::manual_seed(4);
  // Few distinct values, so that ties are everywhere.
  const torch::Tensor values = torch::randint(0, 4, {100, 9}).to(torch::kFloat32);
  const torch::Tensor order = std::get<1>(torch::sort(values, /*stable=*/true, 1, /*descending=*/true));
  for (const int64_t k : {1, 2, 9}) EXPECT_TRUE(torch::equal(top_k_indices(values.to(device()), k).cpu(), order.narrow(1, 0, k)));
}

TEST_P(TopKIndices, NotANumberStillGivesDifferentExperts) {
  const torch::Tensor order = top_k_indices(torch::full({1, 4}, NAN, device()), 3);
  EXPECT_EQ(std::get<0>(torch::_unique(order)).size(0), 3);
}

}  // namespace
}  // namespace mose::moe
