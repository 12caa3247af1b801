#include "mose/nn/int8.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>
#include <limits>

#include "mose/core/error.h"
#include "mose/nn/fused.h"

namespace mose::nn {
namespace {

using torch::Tensor;

TEST(Int8, EveryWeightIsWithinHalfAStepOfItsRow) {
  torch::manual_seed(1);
  Tensor w = torch::randn({3, 5, 37}) * torch::tensor({1e-6f, 1.0f, 300.0f}).view({3, 1, 1});
  w[1][2].zero_();
  const Tensor packed = pack_int8(w);
  EXPECT_EQ(packed.sizes(), torch::IntArrayRef({3, 5, 41}));
  EXPECT_EQ(columns(packed), 37);
  const Tensor back = unpack_int8(packed), step = w.abs().amax(-1, true) / 127;
  EXPECT_TRUE(((back - w).abs() <= step * 0.5001).all().item<bool>());
  EXPECT_TRUE(torch::equal(back[1][2], w[1][2]));
  // The largest of each row is kept.
  EXPECT_TRUE(torch::allclose(back.abs().amax(-1), w.abs().amax(-1), 1e-6, 0));
}

TEST(Int8, ProductsAreThoseOfTheRoundedWeightsInFloat64) {
  for (const int64_t rows : {0, 1, 2, 5, 16, 17, 70, 131}) {
    for (const auto& [outputs, width] : std::vector<std::pair<int64_t, int64_t>>{{1, 1}, {3, 17}, {64, 64}, {130, 47}, {33, 1000}}) {
      for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
        torch::manual_seed(2);
        const Tensor x = torch::randn({rows, width}).to(type), w = torch::randn({outputs, width}), b = torch::randn({outputs}).to(type);
        const Tensor packed = pack_int8(w), y = nn::linear(x, packed, b);
        ASSERT_EQ(y.sizes(), torch::IntArrayRef({rows, outputs}));
        ASSERT_EQ(y.scalar_type(), type);
        if (rows == 0) continue;
        const auto exact = [&](const Tensor& weight) { return at::mm(x.to(torch::kFloat64), weight.to(torch::kFloat64).t()) + b; };
        const Tensor rounded = exact(unpack_int8(packed));
        const double scale = rounded.abs().max().item<double>();
        EXPECT_LT((y - rounded).abs().max().item<double>() / scale, type == torch::kFloat32 ? 2e-6 : 2e-2)
            << rows << " " << outputs << " " << width;
        EXPECT_TRUE(torch::equal(y, nn::linear(x, packed, b)));
      }
    }
  }
}

// Rounding errors of 8 bits are uniform in a step: about s / sqrt(12) a weight, where s = max|w| / 127.
TEST(Int8, ProductsOfWideRowsAreWithinOnePercentOfTheExactOnes) {
  torch::manual_seed(3);
  const Tensor x = torch::randn({4, 2048}), w = torch::randn({512, 2048});
  const Tensor exact = at::mm(x.to(torch::kFloat64), w.to(torch::kFloat64).t());
  const double error = ((nn::linear(x, pack_int8(w)) - exact).norm() / exact.norm()).item<double>();
  EXPECT_LT(error, 0.01);
  EXPECT_GT(error, 0.001) << "nothing was rounded";
}

// Rows whose largest number is far above the others, as decoders have them; empty ones, and ones that overflowed.
TEST(Int8, RowsOfAnySizeAreWithinTheirLargestNumbersPrecision) {
  torch::manual_seed(4);
  Tensor x = torch::randn({3, 512});
  x[0][7] = 1000;
  x[1][100] = -3e4;
  x[2].zero_();
  const Tensor w = torch::randn({64, 512}), packed = pack_int8(w), exact_w = unpack_int8(packed).to(torch::kFloat64);
  const Tensor y = nn::linear(x, packed);
  const Tensor error = (y - at::mm(x.to(torch::kFloat64), exact_w.t())).abs(), sizes = exact_w.abs().sum(1);
  for (const int64_t row : {0, 1}) {  // a unit of 24 bits of the largest for every number
    EXPECT_TRUE((error[row] <= x[row].abs().max() * std::ldexp(1, -23) * sizes).all().item<bool>()) << row;
  }
  EXPECT_TRUE((y[2] == 0).all().item<bool>());
  for (const float strange : {std::numeric_limits<float>::infinity(), std::numeric_limits<float>::quiet_NaN()}) {
    x[2][3] = strange;
    const Tensor out = nn::linear(x, packed);
    EXPECT_FALSE(out[2].isfinite().any().item<bool>());
    EXPECT_TRUE(torch::equal(out[0], y[0]));
  }
}

TEST(Int8, RefusesGradientsAndOtherWidths) {
  const Tensor packed = pack_int8(torch::randn({4, 8}));
  EXPECT_THROW(nn::linear(torch::randn({2, 8}, torch::requires_grad()), packed), Error);
  EXPECT_THROW(nn::linear(torch::randn({2, 12}), packed), Error);
  EXPECT_THROW(nn::linear(torch::randn({2, 8}, torch::kFloat64), packed), Error);
}

}  // namespace
}  // namespace mose::nn
