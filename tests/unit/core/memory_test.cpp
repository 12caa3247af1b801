#include "mose/core/memory.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>
#include <vector>

namespace mose {
namespace {

// Advice changes no byte, whatever part of memory it is about: several large pages, parts of one, less than a page, nothing.
TEST(Memory, AdviceLeavesWhatIsStored) {
  std::vector<int> values(3 << 20);
  std::iota(values.begin(), values.end(), 0);
  const auto before = values;
  for (const size_t begin : {size_t{0}, size_t{1}, size_t{100'000}}) {
    for (const size_t count : {size_t{0}, size_t{10}, size_t{5000}, values.size() - begin}) {
      use_large_pages(values.data() + begin, count * sizeof(int));
      read_ahead(values.data() + begin, count * sizeof(int));
      EXPECT_TRUE(values == before) << begin << " " << count;
    }
  }
  std::fill(values.begin(), values.end(), 7);  // it can be written as before
  EXPECT_EQ(std::count(values.begin(), values.end(), 7), static_cast<int64_t>(values.size()));
}

}  // namespace
}  // namespace mose
