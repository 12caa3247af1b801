#include "mose/optim/clip.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "mose/core/error.h"

namespace mose::optim {
namespace {

// Gradients (3, 4) and (12): norm 13; the third parameter has none.
std::vector<NamedParameter> make_parameters() {
  std::vector<NamedParameter> parameters{
      {"a", torch::zeros({2})}, {"b", torch::zeros({1, 1})}, {"frozen", torch::zeros({4})}};
  parameters[0].tensor.mutable_grad() = torch::tensor({3.0f, 4.0f});
  parameters[1].tensor.mutable_grad() = torch::full({1, 1}, 12.0f);
  return parameters;
}

TEST(ClipGradients, NormIsOverAllParameters) {
  EXPECT_FLOAT_EQ(gradient_norm(make_parameters()).item<float>(), 13.0f);
  EXPECT_EQ(gradient_norm({{"a", torch::zeros({2})}}).item<float>(), 0.0f);
}

// More elements than a slice, not a multiple of it, and one that is no slice of memory.
TEST(ClipGradients, NormOfShortTypesIsThatOfTheirNumbers) {
  torch::manual_seed(3);
  for (const auto type : {torch::kBFloat16, torch::kHalf}) {
    std::vector<NamedParameter> parameters{{"long", torch::zeros({700, 401}, type)}, {"turned", torch::zeros({30, 20}, type)}};
    parameters[0].tensor.mutable_grad() = torch::randn({700, 401}, type);
    parameters[1].tensor.mutable_grad() = torch::randn({20, 30}, type).t();
    double squares = 0;
    for (const auto& p : parameters) squares += p.tensor.grad().to(torch::kFloat64).square().sum().item<double>();
    const auto norm = gradient_norm(parameters);
    EXPECT_EQ(norm.scalar_type(), torch::kFloat32);
    EXPECT_NEAR(norm.item<double>(), std::sqrt(squares), 1e-5 * std::sqrt(squares));
  }
}

TEST(ClipGradients, LargeGradientsAreScaledToTheLimit) {
  auto parameters = make_parameters();
  EXPECT_FLOAT_EQ(clip_gradients(parameters, 6.5).item<float>(), 13.0f);
  EXPECT_NEAR(parameters[0].tensor.grad()[0].item<double>(), 1.5, 1e-6);
  EXPECT_NEAR(parameters[1].tensor.grad()[0][0].item<double>(), 6.0, 1e-6);
  EXPECT_NEAR(gradient_norm(parameters).item<double>(), 6.5, 1e-5);
}

TEST(ClipGradients, SmallGradientsKeepTheirBits) {
  auto parameters = make_parameters();
  clip_gradients(parameters, 14.0);
  EXPECT_TRUE(torch::equal(parameters[0].tensor.grad(), torch::tensor({3.0f, 4.0f})));
  clip_gradients(parameters, 0);
  EXPECT_TRUE(torch::equal(parameters[0].tensor.grad(), torch::tensor({3.0f, 4.0f})));
}

TEST(ClipGradients, NormOfAWholeModelScalesAShard) {
  auto parameters = make_parameters();
  scale_gradients(parameters, torch::tensor(26.0f), 13.0);
  EXPECT_NEAR(parameters[0].tensor.grad()[1].item<double>(), 2.0, 1e-6);
}

TEST(FiniteNorm, NamesTheParametersThatDiverged) {
  auto parameters = make_parameters();
  EXPECT_DOUBLE_EQ(finite_norm(gradient_norm(parameters), parameters, 5), 13.0);
  parameters[1].tensor.mutable_grad().fill_(std::numeric_limits<float>::quiet_NaN());
  try {
    finite_norm(gradient_norm(parameters), parameters, 5);
    FAIL() << "no error";
  } catch (const DivergenceError& error) {
    const std::string message = error.what();
    EXPECT_NE(message.find("step 5"), std::string::npos) << message;
    EXPECT_NE(message.find("1 of 3"), std::string::npos) << message;
    EXPECT_NE(message.find(": b"), std::string::npos) << message;
  }
}

}  // namespace
}  // namespace mose::optim
