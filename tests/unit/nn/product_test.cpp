#include "nn/product.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include "support/threads.h"

namespace mose::nn {
namespace {

// Around the numbers of rows at which W and x change places, against float64; W as it lies and as a transposed view.
TEST(Product, IsTheProductForAnyNumberOfRows) {
  torch::manual_seed(3);
  const torch::NoGradGuard no_grad;
  for (const int threads : {1, 2, 3}) {
    const WithThreads set(threads);
    for (const auto& [out, in] : {std::pair<int64_t, int64_t>{96, 40}, {17, 33}, {211, 64}}) {
      const torch::Tensor weight = torch::randn({out, in}), bias = torch::randn({out});
      const torch::Tensor view = weight.t().contiguous().t();
      for (const int64_t rows : {1, 14, 15, 16, 31, 64, 80, 81, 130}) {
        const torch::Tensor x = torch::randn({rows, in});
        const torch::Tensor plain = torch::mm(x.to(torch::kFloat64), weight.to(torch::kFloat64).t());
        for (const torch::Tensor& w : {weight, view}) {
          const torch::Tensor y = product(x, w), with_bias = product(x, w, bias), of_columns = product(torch::cat({x, x}, 1).narrow(1, 0, in), w);
          EXPECT_TRUE(y.is_contiguous() && with_bias.is_contiguous());
          EXPECT_TRUE(torch::allclose(y.to(torch::kFloat64), plain, 1e-5, 1e-5)) << rows << " rows, " << out << " x " << in << ", " << threads;
          EXPECT_TRUE(torch::equal(of_columns, y)) << rows << " rows that lie apart";
          EXPECT_TRUE(torch::allclose(with_bias.to(torch::kFloat64), plain + bias.to(torch::kFloat64), 1e-5, 1e-5)) << rows << " rows with bias";
        }
      }
    }
  }
}

}  // namespace
}  // namespace mose::nn
