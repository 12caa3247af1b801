#include "train/stall_watch.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace mose::train {
namespace {

using std::chrono::milliseconds;

TEST(StallWatch, WarnsOnceTheLimitHasPassedAndEachTimeItDoubles) {
  testing::internal::CaptureStderr();
  {
    StallWatch watch("stage x", 0.05);
    std::this_thread::sleep_for(milliseconds(450));
  }
  const std::string said = testing::internal::GetCapturedStderr();
  EXPECT_THAT(said, testing::HasSubstr("stage x: no progress for"));
  size_t warnings = 0;
  for (size_t at = 0; (at = said.find("no progress", at)) != std::string::npos; ++at) ++warnings;
  EXPECT_GE(warnings, 2u) << said;  // after 0.05, 0.1, 0.2 and 0.4 s, on a machine that has the time
  EXPECT_LE(warnings, 4u) << said;
}

TEST(StallWatch, IsSilentWhereItIsOffOrThereIsProgress) {
  testing::internal::CaptureStderr();
  {
    StallWatch off("off", 0), watch("stage x", 20);
    std::this_thread::sleep_for(milliseconds(30));
    watch.progress();
  }
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace mose::train
