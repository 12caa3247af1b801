// Tests that run in several processes: the test program starts itself once a rank, with the running test alone.
//
//   TEST(AllReduce, Sums) {
//     in_processes(4, [](const dist::Launch& launch) { EXPECT_...; });
//   }
#pragma once

#include <arpa/inet.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <functional>
#include <string>
#include <thread>
#include <vector>

#include "mose/core/files.h"
#include "mose/core/strings.h"
#include "mose/dist/launch.h"
#include "support/helpers.h"

extern char** environ;

namespace mose::tests {

inline int free_port() {
  const int s = socket(AF_INET, SOCK_STREAM, 0);
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  if (bind(s, reinterpret_cast<sockaddr*>(&address), size) != 0) ADD_FAILURE() << "no free port";
  getsockname(s, reinterpret_cast<sockaddr*>(&address), &size);
  close(s);
  return ntohs(address.sin_port);
}

// The processes of one run of the current test, each with one thread and its output in a file of its own.
class Processes {
 public:
  explicit Processes(int64_t world) {
    const auto* test = testing::UnitTest::GetInstance()->current_test_info();
    const std::string filter = str("--gtest_filter=", test->test_suite_name(), ".", test->name());
    const int port = free_port();
    for (int64_t rank = 0; rank < world; ++rank) {
      std::vector<std::string> values = {str("RANK=", rank), str("LOCAL_RANK=", rank), str("WORLD_SIZE=", world),
                                         "MASTER_ADDR=127.0.0.1", str("MASTER_PORT=", port), "OMP_NUM_THREADS=1",
                                         // A process that gives up leaves memory behind.
                                         "ASAN_OPTIONS=detect_leaks=0", "MOSE_TEST_PROCESS=1"};
      for (char** e = environ; *e; ++e) values.emplace_back(*e);
      std::vector<char*> environment;
      for (auto& value : values) environment.push_back(value.data());
      environment.push_back(nullptr);
      const std::string log = output_file(rank);
      posix_spawn_file_actions_t files;
      posix_spawn_file_actions_init(&files);
      posix_spawn_file_actions_addopen(&files, 1, log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0600);
      posix_spawn_file_actions_adddup2(&files, 1, 2);
      std::string program = "/proc/self/exe", brief = "--gtest_brief=1", only = filter;
      char* arguments[] = {program.data(), only.data(), brief.data(), nullptr};
      pid_t pid = 0;
      EXPECT_EQ(posix_spawn(&pid, "/proc/self/exe", &files, nullptr, arguments, environment.data()), 0);
      posix_spawn_file_actions_destroy(&files);
      pids_.push_back(pid);
    }
  }
  ~Processes() {
    for (const pid_t pid : pids_) {
      if (pid != 0) {
        ::kill(pid, SIGKILL);
        waitpid(pid, nullptr, 0);
      }
    }
  }

  void signal(int64_t rank, int number) const { ::kill(pids_[static_cast<size_t>(rank)], number); }

  // The exit code, 128 + n after signal n, -1 when it still runs after so many seconds.
  int wait(int64_t rank, double seconds) {
    pid_t& pid = pids_[static_cast<size_t>(rank)];
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    do {
      int status = 0;
      if (waitpid(pid, &status, WNOHANG) == pid) {
        pid = 0;
        return WIFSIGNALED(status) ? 128 + WTERMSIG(status) : WEXITSTATUS(status);
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    } while (std::chrono::steady_clock::now() < end);
    return -1;
  }

  std::string output(int64_t rank) const { return read_file(output_file(rank)); }
  // Waits until the rank has printed `text`.
  void await(int64_t rank, const std::string& text, double seconds = 30) const {
    const auto end = std::chrono::steady_clock::now() + std::chrono::duration<double>(seconds);
    while (output(rank).find(text) == std::string::npos) {
      if (std::chrono::steady_clock::now() > end) {
        ADD_FAILURE() << "rank " << rank << " has not said " << text << ": " << output(rank);
        return;
      }
      std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
  }

 private:
  std::string output_file(int64_t rank) const { return (folder_.path / str(rank)).string(); }

  TemporaryFolder folder_;
  std::vector<pid_t> pids_;
};

inline bool is_test_process() { return std::getenv("MOSE_TEST_PROCESS") != nullptr; }

// Runs `work` in `world` processes (in this one where world is 1) and fails where one of them fails.
inline void in_processes(int64_t world, const std::function<void(const dist::Launch&)>& work, double seconds = 120) {
  if (is_test_process() || world == 1) return work(dist::read_launch());
  Processes processes(world);
  for (int64_t rank = 0; rank < world; ++rank) {
    EXPECT_EQ(processes.wait(rank, seconds), 0) << "rank " << rank << ":\n" << processes.output(rank);
  }
}

}  // namespace mose::tests
