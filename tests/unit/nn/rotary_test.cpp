#include "mose/nn/rotary.h"

#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cmath>

#include "mose/core/error.h"

namespace mose::nn {
namespace {

TEST(Rotary, TurnsPairsByPositionTimesFrequency) {
  const auto x = torch::tensor({{{1.0f, 0.0f, 0.0f, 2.0f}}});  // one row, one head, d = 4
  const auto out = apply_rotary(x, rotary_table(torch::tensor({3}), rotary_frequencies(4, 100.0)));
  // pairs (0, 2) turn by 3, (1, 3) by 3 * 100^(-1/2) = 0.3
  EXPECT_NEAR(out[0][0][0].item<double>(), std::cos(3.0), 1e-6);
  EXPECT_NEAR(out[0][0][2].item<double>(), std::sin(3.0), 1e-6);
  EXPECT_NEAR(out[0][0][1].item<double>(), -2 * std::sin(0.3), 1e-6);
  EXPECT_NEAR(out[0][0][3].item<double>(), 2 * std::cos(0.3), 1e-6);
}

TEST(Rotary, LeavesWhatIsBehindTheTurningPart) {
  torch::manual_seed(1);
  const auto x = torch::randn({5, 2, 10});
  const auto table = rotary_table(torch::arange(5), rotary_frequencies(4, 100.0));
  const auto out = apply_rotary(x, table);
  EXPECT_TRUE(torch::equal(out.narrow(2, 4, 6), x.narrow(2, 4, 6)));
  EXPECT_TRUE(torch::equal(out.narrow(2, 0, 4), apply_rotary(x.narrow(2, 0, 4), table)));
}

TEST(RotaryFrequencies, LinearScalingDividesAll) {
  EXPECT_TRUE(torch::allclose(rotary_frequencies(8, 1e4, RopeScaling{"linear", 4}), rotary_frequencies(8, 1e4) / 4));
}

// The rule of Llama 3.1 by the length of a turn, one frequency at a time.
TEST(RotaryFrequencies, Llama3SlowsSlowTurnsOnly) {
  const RopeScaling s{"llama3", 8, 1, 4, 512};
  const auto plain = rotary_frequencies(64, 5e5), scaled = rotary_frequencies(64, 5e5, s);
  int kept = 0, slowed = 0, between = 0;
  for (int64_t i = 0; i < 32; ++i) {
    const double f = plain[i].item<double>(), length = 2 * M_PI / f;
    double want = f;
    if (length > 512 / 1.0) {
      want = f / 8;
      ++slowed;
    } else if (length >= 512 / 4.0) {
      const double share = (512 / length - 1) / (4 - 1);
      want = (1 - share) * f / 8 + share * f;
      ++between;
    } else {
      ++kept;
    }
    EXPECT_NEAR(scaled[i].item<double>() / want, 1, 1e-5) << i;
  }
  EXPECT_GT(kept, 3);
  EXPECT_GT(slowed, 3);
  EXPECT_GT(between, 0);
}

TEST(RotaryFrequencies, RefusesWhatItDoesNotKnow) {
  EXPECT_THROW(rotary_frequencies(8, 1e4, RopeScaling{"yarn", 4}), UsageError);
  EXPECT_THROW(rotary_frequencies(8, 1e4, RopeScaling{"llama3", 4, 4, 4}), UsageError);
}

}  // namespace
}  // namespace mose::nn
