#include "infer/prefetch.h"

#include <gtest/gtest.h>

#include <atomic>

#include "mose/core/error.h"

namespace mose::infer {
namespace {

TEST(Prefetch, GivesEveryValueInOrderAndNoMoreAheadThanAllowed) {
  for (const int64_t workers : {1, 4}) {
    constexpr size_t kAhead = 3;
    std::atomic<size_t> made{0}, taken{0}, most{0};
    Prefetch<size_t> squares(50, workers, kAhead, [&](size_t i) {
      const size_t waiting = ++made - taken;
      for (size_t seen = most; waiting > seen && !most.compare_exchange_weak(seen, waiting);) {}
      std::this_thread::sleep_for(std::chrono::microseconds(100 * ((i * 7) % 5)));
      return i * i;
    });
    for (size_t i = 0; i < 50; ++i) {
      EXPECT_EQ(squares.next(), i * i);
      ++taken;
    }
    EXPECT_EQ(squares.next(), std::nullopt);
    EXPECT_LE(most, kAhead + 1);  // one may have been given out and not been counted as taken
  }
}

TEST(Prefetch, AnErrorComesInItsTurn) {
  Prefetch<int> numbers(3, 2, 3, [](size_t i) {
    if (i == 1) throw DataError("the second");
    return static_cast<int>(i);
  });
  EXPECT_EQ(numbers.next(), 0);
  EXPECT_THROW(numbers.next(), DataError);
  EXPECT_EQ(numbers.next(), 2);
}

TEST(Prefetch, EndsWhileValuesWait) {
  Prefetch<int> numbers(1000, 3, 5, [](size_t i) { return static_cast<int>(i); });
  EXPECT_EQ(numbers.next(), 0);
}

}  // namespace
}  // namespace mose::infer
