#include <gmock/gmock.h>

#include "support/helpers.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/log.h"
#include "mose/core/progress.h"

namespace mose {
namespace {

using testing::HasSubstr;
using testing::Not;

// What `work` writes to stderr.
template <class Work>
std::string stderr_of(Work&& work) {
  testing::internal::CaptureStderr();
  work();
  return testing::internal::GetCapturedStderr();
}

class Log : public testing::Test {
 protected:
  void TearDown() override {
    log::close_files();
    log::set_quiet(false);
    log::set_level("info");
  }
};

TEST_F(Log, TheLevelDecidesWhatReachesStderr) {
  log::set_level("warn");
  const std::string text = stderr_of([] {
    log::info("an info line");
    log::warn("a warning of ", 3, " parts");
  });
  EXPECT_THAT(text, AllOf(HasSubstr("a warning of 3 parts"), Not(HasSubstr("an info line"))));
  EXPECT_THAT(message_of<UsageError>([] { log::set_level("loud"); }), HasSubstr("loud"));
}

TEST_F(Log, QuietKeepsWarningsOnStderrAndEverythingInFiles) {
  const TemporaryFolder folder;
  log::add_file(folder.path / "log.txt");
  log::set_quiet(true);
  const std::string text = stderr_of([] {
    log::info("an info line");
    log::error("an error line");
  });
  log::close_files();
  EXPECT_THAT(text, AllOf(HasSubstr("an error line"), Not(HasSubstr("an info line"))));
  EXPECT_THAT(read_file(folder.path / "log.txt"),
              AllOf(HasSubstr("an info line"), HasSubstr("an error line")));
}

TEST_F(Log, BracesInAMessageAreText) {
  EXPECT_THAT(stderr_of([] { log::info("{} {0} %s"); }), HasSubstr("{} {0} %s"));
}

TEST_F(Log, AFileThatCannotBeOpenedIsAnError) {
  EXPECT_THAT(message_of<Error>([] { log::add_file("/proc/none/log.txt"); }),
              HasSubstr("/proc/none/log.txt"));
}

TEST_F(Log, ProgressEndsWithOneLineOfWhatWasDone) {
  const std::string text = stderr_of([] {
    Progress progress("rendering", 4, "images");
    for (int i = 0; i < 4; ++i) progress.advance(1, "loss 0.5");
  });
  EXPECT_THAT(text, HasSubstr("rendering 4/4 images (100 %)"));
  EXPECT_THAT(text, AllOf(HasSubstr("images/s"), HasSubstr("loss 0.5"), HasSubstr("took ")));
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 1);
}

TEST_F(Log, ProgressWithoutATotalNamesOnlyTheCount) {
  const std::string text = stderr_of([] { Progress("reading", 0, "files").set(7); });
  EXPECT_THAT(text, AllOf(HasSubstr("reading 7 files"), Not(HasSubstr("%"))));
}

TEST_F(Log, ProgressIsSilentWhenQuietAndWhenNothingWasDone) {
  EXPECT_EQ(stderr_of([] { Progress("reading", 3, "files"); }), "");
  log::set_quiet(true);
  EXPECT_EQ(stderr_of([] { Progress("reading", 3, "files").set(3); }), "");
}

}  // namespace
}  // namespace mose
