#include "mose/core/random.h"

#include <gmock/gmock.h>

#include <cmath>
#include <set>

#include "support/helpers.h"
#include "mose/core/error.h"

namespace mose {
namespace {

// The published algorithm, step by step as its authors state it, from a state read as text.
uint64_t reference_next(std::array<uint64_t, 4>& s) {
  auto rotate = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
  const uint64_t result = rotate(s[1] * 5, 7) * 9;
  const uint64_t t = s[1] << 17;
  s[2] ^= s[0];
  s[3] ^= s[1];
  s[1] ^= s[2];
  s[0] ^= s[3];
  s[2] ^= t;
  s[3] = rotate(s[3], 45);
  return result;
}

TEST(RandomStream, FollowsXoshiro256StarStar) {
  RandomStream stream(1, "x");
  stream.set_state("1 2 3 4");
  // From the state (1, 2, 3, 4) the first values are known: rotl(2 * 5, 7) * 9 = 11520, then 0.
  EXPECT_EQ(stream.next(), 11520u);
  EXPECT_EQ(stream.next(), 0u);
  std::array<uint64_t, 4> state{1, 2, 3, 4};
  reference_next(state), reference_next(state);
  for (int i = 0; i < 100; ++i) ASSERT_EQ(stream.next(), reference_next(state));
}

TEST(RandomStream, IsSetBySeedAndName) {
  RandomStream a(7, "data"), same(7, "data"), other_name(7, "init"), other_seed(8, "data");
  const uint64_t first = a.next();
  EXPECT_EQ(first, same.next());
  EXPECT_NE(first, other_name.next());
  EXPECT_NE(first, other_seed.next());
}

TEST(RandomStream, ContinuesFromASavedState) {
  RandomStream stream(3, "shuffle");
  for (int i = 0; i < 10; ++i) stream.next();
  RandomStream resumed(0, "");
  resumed.set_state(stream.state());
  for (int i = 0; i < 10; ++i) {
    EXPECT_EQ(stream.next(), resumed.next());
    EXPECT_EQ(stream.normal(), resumed.normal());
  }
}

TEST(RandomStream, RefusesAStateThatIsNotOne) {
  RandomStream stream(3, "x");
  const std::string before = stream.state();
  for (const char* bad : {"", "1 2 3", "1 2 3 z"}) {
    EXPECT_THAT(message_of<DataError>([&] { stream.set_state(bad); }),
                testing::HasSubstr("malformed"));
  }
  EXPECT_EQ(stream.state(), before);
}

TEST(RandomStream, UniformAndNormalHaveTheirMoments) {
  RandomStream stream(11, "moments");
  constexpr int kDraws = 200'000;
  double sum = 0, square = 0, uniform_sum = 0;
  for (int i = 0; i < kDraws; ++i) {
    const double u = stream.uniform(2, 4);
    ASSERT_GE(u, 2);
    ASSERT_LT(u, 4);
    uniform_sum += u;
    const double n = stream.normal();
    sum += n;
    square += n * n;
  }
  // Five standard errors.
  EXPECT_NEAR(uniform_sum / kDraws, 3, 5 * (2 / std::sqrt(12.0)) / std::sqrt(kDraws));
  EXPECT_NEAR(sum / kDraws, 0, 5 / std::sqrt(kDraws));
  EXPECT_NEAR(square / kDraws, 1, 5 * std::sqrt(2.0 / kDraws));
}

TEST(RandomStream, IntegersAreInclusiveAndEven) {
  RandomStream stream(5, "integers");
  std::array<int, 5> counts{};
  for (int i = 0; i < 50'000; ++i) ++counts[static_cast<size_t>(stream.integer(-2, 2) + 2)];
  for (const int count : counts) EXPECT_NEAR(count, 10'000, 5 * std::sqrt(50'000 * 0.2 * 0.8));
  EXPECT_EQ(stream.integer(4, 4), 4);
  for (int i = 0; i < 100; ++i) {
    const int64_t value = stream.integer(INT64_MIN, 0);
    EXPECT_LE(value, 0);
  }
  stream.integer(INT64_MIN, INT64_MAX);
  EXPECT_THROW(stream.integer(2, 1), Error);
}

TEST(RandomStream, WeightedFollowsTheWeights) {
  RandomStream stream(5, "weights");
  std::array<int, 4> counts{};
  for (int i = 0; i < 40'000; ++i) ++counts[stream.weighted({1, 0, 3, 0})];
  EXPECT_EQ(counts[1] + counts[3], 0);
  EXPECT_NEAR(counts[0], 10'000, 5 * std::sqrt(40'000 * 0.25 * 0.75));
  EXPECT_THROW(stream.weighted({0, 0}), Error);
  EXPECT_THROW(stream.weighted({}), Error);
}

TEST(RandomStream, ChanceZeroNeverAndOneAlways) {
  RandomStream stream(5, "chance");
  for (int i = 0; i < 1000; ++i) {
    EXPECT_FALSE(stream.chance(0));
    EXPECT_TRUE(stream.chance(1));
  }
}

TEST(RandomStream, ShuffleMakesEveryOrderEquallyOften) {
  RandomStream stream(5, "shuffle");
  std::map<std::vector<int>, int> orders;
  for (int i = 0; i < 24'000; ++i) {
    std::vector<int> items = {0, 1, 2, 3};
    stream.shuffle(items);
    ++orders[items];
  }
  ASSERT_EQ(orders.size(), 24u);
  for (const auto& [order, count] : orders) EXPECT_NEAR(count, 1000, 5 * std::sqrt(1000));
}

}  // namespace
}  // namespace mose
