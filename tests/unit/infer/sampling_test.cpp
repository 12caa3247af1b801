#include "infer/sampling.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <limits>
#include <map>

#include "mose/core/error.h"
#include "plain_sampling.h"
#include "support/devices.h"

namespace mose::infer {
namespace {

using torch::Tensor;

SamplingConfig config_of(const tests::SamplingCase& c) {
  SamplingConfig config;
  config.temperature = c.temperature;
  config.top_k = c.top_k;
  config.top_p = c.top_p;
  return config;
}

class Choose : public OnDevice {};
MOSE_ON_DEVICES(Choose);

TEST_P(Choose, DrawsAreThoseOfThePlainWay) {
  for (const int64_t classes : {1, 7, 1000, 40000}) {
    for (const auto type : {torch::kFloat32, torch::kBFloat16}) {  // in bfloat16 many logits are equal
      torch::manual_seed(1);
      const int64_t rows = 16;
      const Tensor logits = (3 * torch::randn({rows, classes})).to(type), uniform = torch::rand({rows}, torch::kFloat64);
      for (const auto& c : tests::sampling_cases(classes)) {
        const Tensor found = choose_on_device(logits.to(device()), config_of(c), uniform.to(device())).cpu();
        for (int64_t n = 0; n < rows; ++n) {
          EXPECT_EQ(found[n].item<int64_t>(), tests::plain_sample(logits[n], c.temperature, c.top_k, c.top_p, uniform[n].item<double>()))
              << classes << " classes, temperature " << c.temperature << ", top_k " << c.top_k << ", top_p " << c.top_p << ", row " << n;
        }
      }
    }
  }
}

TEST_P(Choose, GreedyTakesTheFirstOfTheLargest) {
  torch::manual_seed(2);
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    const Tensor logits = torch::randint(0, 50, {20, 3000}).to(type);
    const Tensor found = choose_on_device(logits.to(device()), {}, {}).cpu();
    for (int64_t n = 0; n < 20; ++n) EXPECT_EQ(found[n].item<int64_t>(), (logits[n] == logits[n].max()).nonzero()[0].item<int64_t>());
  }
}

TEST_P(Choose, GreedyDoesNotHideNotANumber) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  const Tensor logits = torch::tensor({{1.f, nan, 3.f, nan}, {-inf, -inf, -inf, -inf}, {-2.f, 0.f, -0.f, -inf}});
  for (const auto type : {torch::kFloat32, torch::kBFloat16}) {
    EXPECT_TRUE(torch::equal(choose_on_device(logits.to(device(), type), {}, {}).cpu(), torch::tensor({1, 0, 1}, torch::kInt64)));
  }
}

TEST_P(Choose, RowsWithoutAnyMassAreRefused) {
  const float inf = std::numeric_limits<float>::infinity(), nan = std::numeric_limits<float>::quiet_NaN();
  SamplingConfig config;
  config.temperature = 1;
  RandomStream stream(1, "test");
  const auto choose = [&](const std::vector<float>& logits) { return choose_tokens(torch::tensor(logits).view({1, -1}).to(device()), config, {&stream}); };
  EXPECT_EQ(choose({nan, -inf, 2, nan}), std::vector<int64_t>{2});
  EXPECT_THROW(choose({nan, nan}), Error);
  EXPECT_THROW(choose({-inf, -inf}), Error);
}

TEST(Sampling, DrawsFollowTheCutDistribution) {
  SamplingConfig config;
  config.temperature = 2;
  config.top_p = 0.75;
  const std::vector<float> logits = {1, 3, 2, 3};  // 3 and 3 hold 0.66 of the mass, with 2 it is 0.88
  const Tensor expected = torch::softmax(torch::tensor({3.0, 3.0, 2.0}) / 2, 0);
  std::map<int64_t, int> counts;
  const int draws = 3000;
  for (int i = 0; i < draws; ++i) ++counts[sample_token(logits.data(), 4, config, (i + 0.5) / draws)];
  EXPECT_EQ(counts[0], 0);
  EXPECT_NEAR(counts[1], draws * expected[0].item<double>(), 2);
  EXPECT_NEAR(counts[3], draws * expected[1].item<double>(), 2);
  EXPECT_NEAR(counts[2], draws * expected[2].item<double>(), 2);
}

}  // namespace
}  // namespace mose::infer
