// Processes that die, hang, fail or do not come.
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <torch/torch.h>

#include <cstdio>

#include "mose/core/error.h"
#include "mose/dist/communicator.h"
#include "support/helpers.h"
#include "support/processes.h"

namespace mose::dist {
namespace {

using testing::HasSubstr;
using tests::Processes;

const CommunicatorOptions kQuick = {.backend = "gloo", .timeout = 2, .join_timeout = 30, .collective_timeout = 4};

// Reduces until something happens; says so first. Leaves with the exit code of a program.
[[noreturn]] void reduce_for_ever(const Launch& launch, const CommunicatorOptions& options = kQuick) {
  try {
    const auto group = make_communicator(launch, options);
    const torch::Tensor x = torch::ones({100000});
    for (int64_t step = 0;; ++step) {
      group->all_reduce(x).wait();
      x.fill_(1);
      if (step == 10) {
        std::puts("under way");
        std::fflush(stdout);
      }
    }
  } catch (const Error& e) {
    std::puts(e.what());
    std::exit(e.exit_code());
  }
}

// Every rank but one ends with exit code 1 within `seconds` and says `what`.
void expect_others_stop(Processes& processes, int64_t world, int64_t but, double seconds, const std::string& what) {
  for (int64_t rank = 0; rank < world; ++rank) {
    if (rank == but) continue;
    EXPECT_EQ(processes.wait(rank, seconds), 1) << "rank " << rank;
    EXPECT_THAT(processes.output(rank), HasSubstr(what)) << "rank " << rank;
  }
}

class ADeadProcess : public testing::TestWithParam<int64_t> {};

TEST_P(ADeadProcess, StopsTheOthersWithItsName) {
  if (tests::is_test_process()) reduce_for_ever(read_launch());
  Processes processes(4);
  for (int64_t r = 0; r < 4; ++r) processes.await(r, "under way");
  processes.signal(GetParam(), SIGKILL);
  expect_others_stop(processes, 4, GetParam(), 5, str("rank ", GetParam(), " (host "));
  EXPECT_THAT(processes.output((GetParam() + 1) % 4), HasSubstr("has ended without a word"));
}

class AHungProcess : public testing::TestWithParam<int64_t> {};

TEST_P(AHungProcess, StopsTheOthersWithItsName) {
  if (tests::is_test_process()) reduce_for_ever(read_launch());
  Processes processes(4);
  for (int64_t r = 0; r < 4; ++r) processes.await(r, "under way");
  processes.signal(GetParam(), SIGSTOP);
  expect_others_stop(processes, 4, GetParam(), 6, str("rank ", GetParam(), " (host "));
  EXPECT_THAT(processes.output((GetParam() + 1) % 4), HasSubstr("has not answered for 2 s"));
  processes.signal(GetParam(), SIGCONT);  // it finds the others gone
  EXPECT_EQ(processes.wait(GetParam(), 6), 1);
}

INSTANTIATE_TEST_SUITE_P(Ranks, ADeadProcess, testing::Values(0, 3));
INSTANTIATE_TEST_SUITE_P(Ranks, AHungProcess, testing::Values(0, 2));

TEST(AFailingProcess, TellsTheOthersWhy) {
  if (tests::is_test_process()) {
    const Launch launch = read_launch();
    if (launch.rank != 1) reduce_for_ever(launch);
    const auto group = make_communicator(launch, kQuick);
    EXPECT_THROW(guarded(*group, [] { throw DataError("image 7.jpg: truncated\nat byte 12"); }), DataError);
    return;
  }
  Processes processes(3);
  EXPECT_EQ(processes.wait(1, 60), 0);
  expect_others_stop(processes, 3, 1, 5, "failed: image 7.jpg: truncated");
}

TEST(AFailingProcess, IsNoticedWhenAnExceptionLeavesIt) {
  if (tests::is_test_process()) {
    const Launch launch = read_launch();
    if (launch.rank != 0) reduce_for_ever(launch);
    try {
      const auto group = make_communicator(launch, kQuick);
      throw std::runtime_error("not told");
    } catch (const std::runtime_error&) {
    }
    return;
  }
  Processes processes(2);
  EXPECT_EQ(processes.wait(0, 60), 0);
  expect_others_stop(processes, 2, 0, 5, "failed: an error ended it");
}

// It lives and beats, but does not come to the collective.
TEST(ALateProcess, IsNamedWhenTheCollectiveHasWaitedTooLong) {
  if (tests::is_test_process()) {
    const Launch launch = read_launch();
    if (launch.rank != 2) reduce_for_ever(launch);
    const auto group = make_communicator(launch, kQuick);
    std::this_thread::sleep_for(std::chrono::seconds(60));
    return;
  }
  Processes processes(3);
  expect_others_stop(processes, 3, 2, 30, "rank 2 (host ");
  EXPECT_THAT(processes.output(0) + processes.output(1), HasSubstr("all_reduce has waited for 4 s for rank 2"));
}

// A process stuck in a call that nothing can interrupt ends all the same.
TEST(AStuckProcess, EndsByItself) {
  if (tests::is_test_process()) {
    const Launch launch = read_launch();
    const auto group = make_communicator(launch, kQuick);
    std::puts("under way");
    std::fflush(stdout);
    std::this_thread::sleep_for(std::chrono::seconds(60));
    return;
  }
  Processes processes(2);
  for (int64_t r = 0; r < 2; ++r) processes.await(r, "under way");
  processes.signal(1, SIGKILL);
  EXPECT_EQ(processes.wait(0, 6), 1);
  EXPECT_THAT(processes.output(0), HasSubstr("has ended without a word; this process has not come to its next collective and ends"));
}

TEST(Meeting, NamesWhoHasNotCome) {
  if (tests::is_test_process()) {
    Launch launch = read_launch();
    launch.world = 3;  // one more than there are
    const double patience = launch.rank == 0 ? 2 : 20;
    EXPECT_THAT(message_of<Error>([&] { make_communicator(launch, {.backend = "gloo", .join_timeout = patience}); }),
                HasSubstr("waited 2 s for rank 2 of 3 processes"));
    return;
  }
  Processes processes(2);
  for (int64_t r = 0; r < 2; ++r) EXPECT_EQ(processes.wait(r, 30), 0) << processes.output(r);
}

TEST(Meeting, EndsWhenThereIsNoStore) {
  const Launch launch = {.launcher = "torchrun", .rank = 1, .world = 2, .master_address = "127.0.0.1", .master_port = tests::free_port()};
  const auto begin = std::chrono::steady_clock::now();
  EXPECT_THAT(message_of<Error>([&] { make_communicator(launch, {.backend = "gloo", .join_timeout = 2}); }),
              HasSubstr(str("rank 1 of 2 could not join the others at 127.0.0.1:", launch.master_port, " within 2 s")));
  EXPECT_LT(std::chrono::steady_clock::now() - begin, std::chrono::seconds(20));
}

}  // namespace
}  // namespace mose::dist
