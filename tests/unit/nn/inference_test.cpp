#include "mose/nn/inference.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

namespace mose::nn {
namespace {

using torch::Tensor;

TEST(Buffers, GiveMemoryAgainThatNobodyHolds) {
  const torch::NoGradGuard no_grad;
  Buffers buffers;
  const BuffersGuard guard(buffers);
  const void* first = empty({2, 3}, torch::kFloat32).data_ptr();
  EXPECT_EQ(empty({2, 3}, torch::kFloat32).data_ptr(), first);
  EXPECT_NE(empty({3, 2}, torch::kFloat32).data_ptr(), first);
  EXPECT_NE(empty({2, 3}, torch::kInt64).data_ptr(), first);
  EXPECT_EQ(empty({2, 3}, torch::kInt64).scalar_type(), torch::kInt64);
}

TEST(Buffers, KeepWhatIsHeldByATensorOrAView) {
  const torch::NoGradGuard no_grad;
  Buffers buffers;
  const BuffersGuard guard(buffers);
  Tensor whole = empty({4, 2}, torch::kFloat32);
  whole.fill_(7);
  Tensor view = whole.narrow(0, 1, 2).t();
  whole = Tensor();
  const Tensor other = empty({4, 2}, torch::kFloat32);
  other.fill_(8);
  EXPECT_TRUE((view == 7).all().item<bool>());
  view = Tensor();
  EXPECT_NE(empty({4, 2}, torch::kFloat32).data_ptr(), other.data_ptr());
}

TEST(Buffers, ServeOnlyTheirGuardAndNoGradient) {
  Buffers buffers;
  {
    const BuffersGuard guard(buffers);
    const Tensor a = empty({5}, torch::kFloat32);  // gradient is on
    EXPECT_EQ(a.use_count(), 1u);
    const torch::NoGradGuard no_grad;
    EXPECT_EQ(empty({5}, torch::kFloat32).use_count(), 2u);  // the buffers hold it too
    Buffers inner;
    const BuffersGuard nested(inner);
    EXPECT_EQ(empty({6}, torch::kFloat32).use_count(), 2u);
  }
  const torch::NoGradGuard no_grad;
  EXPECT_EQ(empty({5}, torch::kFloat32).use_count(), 1u);
}

TEST(NeedsGradient, AsksModeAndTensors) {
  const Tensor plain = torch::ones({2}), learns = torch::ones({2}, torch::requires_grad());
  EXPECT_FALSE(needs_gradient(plain, Tensor()));
  EXPECT_TRUE(needs_gradient(plain, learns));
  const torch::NoGradGuard no_grad;
  EXPECT_FALSE(needs_gradient(plain, learns));
}

TEST(AddTo, WritesIntoItsResultOnlyWithoutGradient) {
  const Tensor x = torch::ones({3}), y = torch::full({3}, 2.0f);
  EXPECT_TRUE(add_to(x, y).is_same(y));
  EXPECT_TRUE((y == 3).all().item<bool>());
  EXPECT_TRUE((x == 1).all().item<bool>());
  const Tensor learns = torch::ones({3}, torch::requires_grad()), sum = add_to(learns, y);
  EXPECT_FALSE(sum.is_same(y));
  sum.sum().backward();
  EXPECT_TRUE((learns.grad() == 1).all().item<bool>());
  const Tensor half = torch::ones({3}, torch::kBFloat16);  // the sum is of the wider type
  EXPECT_EQ(add_to(x, half).scalar_type(), torch::kFloat32);
}

TEST(HostIndices, AreTheValues) { EXPECT_TRUE(torch::equal(host_indices({3, 1, 2}), torch::tensor({3, 1, 2}, torch::kInt64))); }

}  // namespace
}  // namespace mose::nn
