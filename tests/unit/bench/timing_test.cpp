#include "mose/bench/timing.h"

#include <gtest/gtest.h>

#include <string>

#include "mose/core/error.h"
#include "support/helpers.h"

namespace mose::bench {
namespace {

TEST(Median, IsTheMiddleOrTheMeanOfTheTwoInTheMiddle) {
  EXPECT_DOUBLE_EQ(median({3, 1, 2}), 2);
  EXPECT_DOUBLE_EQ(median({4, 1, 3, 100}), 3.5);
  EXPECT_NE(message_of<Error>([] { median({}); }).find("no values"), std::string::npos);
}

// A work that writes its letter and takes the given seconds, one after another; the first is the warm-up.
Work scripted(std::string& order, char letter, std::vector<double> seconds) {
  return [&order, letter, seconds, next = size_t{0}]() mutable {
    order += letter;
    return seconds.at(next++);
  };
}

TEST(TimeByTurns, OnePeerRunsAfterEachOfOurs) {
  std::string order;
  const auto timing = time_by_turns(scripted(order, 'a', {100, 1, 2, 3}), scripted(order, 'A', {100, 2, 3, 4}),
                                    {scripted(order, 'b', {100, 100, 5, 5, 6, 6, 70, 70})}, 3);
  EXPECT_EQ(order, "abAbabAbabAbabAb");
  EXPECT_DOUBLE_EQ(timing.ours, 2.5);              // of 1 2 2 3 3 4
  EXPECT_DOUBLE_EQ(timing.noise, (3.0 - 2) / 2.5);  // medians 2 and 3
  ASSERT_EQ(timing.peers.size(), 1u);
  EXPECT_DOUBLE_EQ(timing.peers[0], 6);
}

TEST(TimeByTurns, SeveralPeersShareTheTurnsBetweenOurs) {
  std::string order;
  const auto timing = time_by_turns(scripted(order, 'a', {9, 1}), scripted(order, 'A', {9, 1}),
                                    {scripted(order, 'b', {9, 2}), scripted(order, 'c', {9, 3}), scripted(order, 'd', {9, 4})}, 1);
  EXPECT_EQ(order, "abcAdabcAd");
  EXPECT_DOUBLE_EQ(timing.noise, 0);
  EXPECT_EQ(timing.peers, (std::vector<double>{2, 3, 4}));
}

TEST(Seconds, CpuTimeGrowsWithWorkAndNotWithSleep) {
  const double asleep = cpu_seconds([] { usleep(50'000); });
  EXPECT_LT(asleep, 0.02);
  EXPECT_GE(wall_seconds([] { usleep(50'000); }), 0.05);
}

}  // namespace
}  // namespace mose::bench
