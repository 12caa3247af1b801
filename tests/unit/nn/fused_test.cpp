#include "mose/nn/fused.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <functional>
#include <limits>

#include "mose/core/error.h"
#include "mose/nn/rotary.h"
#include "support/devices.h"
#include "support/helpers.h"
#include "support/threads.h"

namespace mose::nn {
namespace {

using torch::Tensor;
using Function = std::function<Tensor(const std::vector<Tensor>&)>;

double difference(const Tensor& a, const Tensor& b) {
  const double scale = std::max(1.0, b.abs().max().item<double>());
  return (a.to(torch::kFloat64) - b.to(torch::kFloat64)).abs().max().item<double>() / scale;
}

struct Results {
  Tensor value;
  std::vector<Tensor> gradients;
};

// On the device and there in the type; the results come back.
Results run(const Function& function, const std::vector<Tensor>& inputs, const Tensor& grad, torch::Dtype type, torch::Device device) {
  std::vector<Tensor> in;
  for (const Tensor& t : inputs) in.push_back(t.to(device, type).detach().clone().requires_grad_());
  const Tensor value = function(in);
  Results out{value.detach().cpu(), torch::autograd::grad({value}, in, {grad.to(device, type)})};
  for (Tensor& t : out.gradients) t = t.cpu();
  return out;
}

constexpr int kThreads = 3;

class Fused : public OnDevice {
 protected:
  void expect_equal(const Function& fused, const Function& plain, const std::vector<Tensor>& inputs, int other_threads = 1);
};
MOSE_ON_DEVICES(Fused);

// `fused` in float32 and bfloat16 against `plain` in float64 on the CPU, values and gradients, and against itself by another number of
// threads bit for bit (by the same where the products are LibTorch's own, which cut long sums by their threads).
void Fused::expect_equal(const Function& fused, const Function& plain, const std::vector<Tensor>& inputs, int other_threads) {
  torch::manual_seed(8);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const double tolerance = type == torch::kFloat32 ? 2e-6 : 2e-2;
    std::vector<Tensor> rounded;  // so that both sides see the same numbers
    for (const Tensor& t : inputs) rounded.push_back(t.to(type));
    const Tensor grad = torch::randn(plain(inputs).sizes()).to(type);
    const auto with_threads = [&](int threads) {
      const WithThreads set(threads);
      return run(fused, rounded, grad, type, device());
    };
    const Results ours = with_threads(kThreads), again = with_threads(other_threads), exact = run(plain, rounded, grad, torch::kFloat64, torch::kCPU);
    EXPECT_EQ(ours.value.scalar_type(), type);
    EXPECT_LT(difference(ours.value, exact.value), tolerance);
    EXPECT_TRUE(torch::equal(ours.value, again.value));
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_LT(difference(ours.gradients[i], exact.gradients[i]), tolerance) << type << ", gradient " << i;
      EXPECT_TRUE(torch::equal(ours.gradients[i], again.gradients[i])) << type << ", gradient " << i;
    }
  }
}

// Whole vectors, parts of one, and more rows than one block of partial sums or one thread has.
const std::vector<std::pair<int64_t, int64_t>> kSizes = {{1, 1}, {3, 15}, {5, 16}, {7, 33}, {131, 64}, {200, 250}};

TEST_P(Fused, RmsNorm) {
  for (const auto& [rows, width] : kSizes) {
    torch::manual_seed(1);
    expect_equal([](const auto& in) { return rms_norm(in[0], in[1], 1e-5); },
                 [](const auto& in) { return in[0] * (in[0].square().mean(-1, true) + 1e-5).rsqrt() * in[1]; },
                 {3 * torch::randn({rows, width}), torch::randn({width})});
  }
}

TEST_P(Fused, SiluMul) {
  for (const auto& [rows, width] : kSizes) {
    torch::manual_seed(2);
    expect_equal([](const auto& in) { return silu_mul(in[0], in[1]); },
                 [](const auto& in) { return in[0] / (1 + torch::exp(-in[0])) * in[1]; },
                 {5 * torch::randn({rows, width}), torch::randn({rows, width})});
  }
}

TEST_P(Fused, SiluMulOfFarValues) {
  const Tensor gate = torch::tensor({-1e30f, -200.f, -87.f, -0.f, 0.f, 87.f, 200.f, 1e30f}).to(device()), up = torch::ones_like(gate);
  const Tensor y = silu_mul(gate, up);
  EXPECT_TRUE(torch::allclose(y, at::silu(gate), 1e-6, 1e-8)) << y;
  const float nan = std::numeric_limits<float>::quiet_NaN();
  EXPECT_TRUE(silu_mul(torch::tensor({nan, 1.f}).to(device()), torch::ones({2}, device())).isnan()[0].item<bool>());
  EXPECT_TRUE(silu_mul(torch::tensor({nan}).to(device(), torch::kBFloat16), torch::ones({1}, device()).to(torch::kBFloat16)).isnan()[0].item<bool>());
}

TEST_P(Fused, Rotary) {
  for (const auto& [rows, heads] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {9, 3}, {150, 4}}) {
    for (const auto& [width, turning] : std::vector<std::pair<int64_t, int64_t>>{{64, 64}, {10, 4}, {34, 34}, {40, 32}}) {
      torch::manual_seed(3);
      const RotaryTable table = rotary_table(torch::arange(rows), rotary_frequencies(turning, 100.0)),
                        moved{table.cos_T1h.to(device()), table.sin_T1h.to(device())};
      const int64_t half = turning / 2, rest = width - turning;
      expect_equal([&](const auto& in) { return apply_rotary(in[0], moved); },
                   [&, half = half, rest = rest](const auto& in) {
                     const Tensor a = in[0].narrow(-1, 0, half), b = in[0].narrow(-1, half, half);
                     const Tensor cos = table.cos_T1h.to(torch::kFloat64), sin = table.sin_T1h.to(torch::kFloat64);
                     return torch::cat({a * cos - b * sin, b * cos + a * sin, in[0].narrow(-1, 2 * half, rest)}, -1);
                   },
                   {torch::randn({rows, heads, width})});
    }
  }
}

TEST_P(Fused, RotaryOfRowsThatLieApart) {
  const Tensor wide = torch::randn({6, 50}, device()), x = wide.narrow(1, 8, 40).view({6, 2, 20});
  const RotaryTable table = rotary_table(torch::arange(6, device()), rotary_frequencies(20, 100.0));
  EXPECT_TRUE(torch::equal(apply_rotary(x, table), apply_rotary(x.contiguous(), table)));
}

TEST_P(Fused, LinearOfFewRows) {
  const torch::NoGradGuard no_grad;
  for (const int64_t rows : {0, 1, 2, 3, 4, 5, 8, 9}) {
    for (const auto& [outputs, width] : kSizes) {
      for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
        torch::manual_seed(4);
        const Tensor x = torch::randn({rows, width}, type), w = torch::randn({outputs, width}, type), b = torch::randn({outputs}, type);
        const auto ours = [&](int threads) {
          const WithThreads set(threads);
          return nn::linear(x.to(device()), w.to(device()), b.to(device())).cpu();
        };
        const Tensor y = ours(kThreads);
        ASSERT_EQ(y.sizes(), torch::IntArrayRef({rows, outputs}));
        if (rows == 0) continue;
        const Tensor exact = torch::mm(x.to(torch::kFloat64), w.to(torch::kFloat64).t()) + b;
        EXPECT_LT(difference(y, exact), type == torch::kFloat32 ? 2e-6 : 1e-2);
        EXPECT_TRUE(torch::equal(y, ours(1)));
      }
    }
  }
}

TEST_P(Fused, LinearOfManyRows) {
  for (const auto& [outputs, width] : kSizes) {
    torch::manual_seed(5);
    const Tensor x = torch::randn({37, width}), w = torch::randn({outputs, width}), b = torch::randn({outputs});
    expect_equal([](const auto& in) { return nn::linear(in[0], in[1], in[2]); },
                 [](const auto& in) { return at::matmul(in[0], in[1].t()) + in[2]; }, {x, w, b}, kThreads);
    expect_equal([](const auto& in) { return nn::linear(in[0], in[1]); }, [](const auto& in) { return at::matmul(in[0], in[1].t()); }, {x, w},
                 kThreads);
  }
}

Results vocabulary(const std::vector<Tensor>& in, const Tensor& targets_R, const Tensor& weights_R, torch::Dtype type, bool plain,
                   torch::Device device = torch::kCPU) {
  std::vector<Tensor> leaves;
  for (const Tensor& t : in) leaves.push_back(t.to(device, type).detach().clone().requires_grad_());
  const Tensor targets = targets_R.to(device), weights = weights_R.to(device);
  Tensor total;
  if (plain) {
    const Tensor losses = at::cross_entropy_loss(at::linear(leaves[0], leaves[1], leaves[2]), targets, {}, at::Reduction::None);
    total = (losses * weights.to(type)).sum();
  } else {
    total = vocabulary_loss(leaves[0], leaves[1], leaves[2], targets, weights).total;
  }
  Results out{total.detach().cpu(), torch::autograd::grad({total * 0.5}, leaves)};
  for (Tensor& t : out.gradients) t = t.cpu();
  return out;
}

class LinearCrossEntropy : public OnDevice {};
MOSE_ON_DEVICES(LinearCrossEntropy);

TEST_P(LinearCrossEntropy, EqualsLinearAndCrossEntropy) {
  for (const auto& [rows, classes] : std::vector<std::pair<int64_t, int64_t>>{{1, 5}, {7, 16}, {40, 1003}, {1100, 37}, {2100, 8}}) {
    torch::manual_seed(5);
    const std::vector<Tensor> in = {torch::randn({rows, 24}), torch::randn({classes, 24}), torch::randn({classes})};
    const Tensor targets = torch::randint(classes, {rows}, torch::kInt64), weights = torch::rand({rows}) / static_cast<double>(rows);
    const Results ours = vocabulary(in, targets, weights, torch::kFloat32, false, device()),
                  again = vocabulary(in, targets, weights, torch::kFloat32, false, device()),
                  exact = vocabulary(in, targets, weights, torch::kFloat64, true);
    EXPECT_LT(difference(ours.value, exact.value), 1e-6);
    EXPECT_TRUE(torch::equal(ours.value, again.value));
    for (size_t i = 0; i < 3; ++i) {
      EXPECT_LT(difference(ours.gradients[i], exact.gradients[i]), 1e-6) << "gradient " << i << " of " << rows << " rows";
      EXPECT_TRUE(torch::equal(ours.gradients[i], again.gradients[i]));
    }
    const Tensor exact_losses = at::cross_entropy_loss(at::linear(in[0].to(torch::kFloat64), in[1].to(torch::kFloat64), in[2].to(torch::kFloat64)),
                                                       targets, {}, at::Reduction::None);
    const torch::NoGradGuard no_grad;
    const auto there = [&](const Tensor& t) { return t.to(device()); };
    const Tensor losses = vocabulary_loss(there(in[0]), there(in[1]), there(in[2]), there(targets), there(weights)).losses_R;
    EXPECT_LT(difference(losses.cpu(), exact_losses), 1e-6);
  }
}

TEST_P(LinearCrossEntropy, WithoutBiasAndOfFrozenWeights) {
  torch::manual_seed(7);
  const Tensor hidden = torch::randn({6, 8}).to(device()).requires_grad_(), weight = torch::randn({9, 8}).to(device()),
               targets = torch::randint(9, {6}, torch::kInt64).to(device());
  const Tensor ours = torch::autograd::grad({vocabulary_loss(hidden, weight, {}, targets, torch::ones({6}, device())).total}, {hidden})[0];
  const Tensor losses = at::cross_entropy_loss(at::linear(hidden, weight), targets, {}, at::Reduction::Sum);
  EXPECT_TRUE(torch::allclose(ours, torch::autograd::grad({losses}, {hidden})[0], 1e-5, 1e-6));
}

TEST_P(LinearCrossEntropy, InBfloat16) {
  torch::manual_seed(6);
  const std::vector<Tensor> in = {torch::randn({700, 32}).to(torch::kBFloat16), torch::randn({50, 32}).to(torch::kBFloat16),
                                  torch::randn({50}).to(torch::kBFloat16)};
  const Tensor targets = torch::randint(50, {700}, torch::kInt64), weights = torch::full({700}, 1.0 / 7);
  const Results ours = vocabulary(in, targets, weights, torch::kBFloat16, false, device()), exact = vocabulary(in, targets, weights, torch::kFloat64, true);
  EXPECT_LT(difference(ours.value, exact.value), 1e-2);
  for (size_t i = 0; i < 3; ++i) {
    EXPECT_EQ(ours.gradients[i].scalar_type(), torch::kBFloat16);
    EXPECT_LT(difference(ours.gradients[i], exact.gradients[i]), 2e-2);
  }
}

// Its gradients are handed over, not copied.
TEST(VocabularyLoss, ASecondBackwardPassIsAnError) {
  const Tensor weight = torch::randn({5, 4}, torch::requires_grad());
  const Tensor loss = vocabulary_loss(torch::randn({2, 4}), weight, {}, torch::tensor({1, 3}, torch::kInt64), torch::ones({2})).total;
  loss.backward({}, /*retain_graph=*/true);
  EXPECT_TRUE(weight.grad().defined());
  EXPECT_THROW(loss.backward(), Error);
}

// The device is of no use afterwards, so another process tries.
TEST(VocabularyLossDeathTest, AGpuEndsItsWorkOnATargetOutsideTheVocabulary) {
  if (!torch::cuda::is_available()) GTEST_SKIP() << "no GPU";
  GTEST_FLAG_SET(death_test_style, "threadsafe");
  const auto work = [] {
    try {
      const auto there = torch::dtype(torch::kFloat32).device(torch::kCUDA);
      const Tensor targets = torch::tensor({1, 5}, torch::kInt64).to(torch::kCUDA);
      vocabulary_loss(torch::randn({2, 4}, there), torch::randn({5, 4}, there), {}, targets, torch::ones({2}, there));
      torch::cuda::synchronize();
    } catch (const std::exception& e) {
      std::fprintf(stderr, "%s\n", e.what());
      std::_Exit(3);
    }
    std::_Exit(0);
  };
  EXPECT_EXIT(work(), ::testing::ExitedWithCode(3), "");
}

TEST(VocabularyLoss, RefusesATargetOutsideTheVocabulary) {
  EXPECT_EQ(message_of<Error>([] {
    vocabulary_loss(torch::randn({2, 4}), torch::randn({5, 4}), {}, torch::tensor({1, 5}), torch::ones({2}));
  }), "vocabulary loss: target 5 of row 1: expected 0 to 4");
}

}  // namespace
}  // namespace mose::nn
