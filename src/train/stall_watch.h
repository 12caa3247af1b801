// Says in the log when a step takes suspiciously long: a stuck disk, a process that does not come, a deadlock.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <string>
#include <thread>

namespace mose::train {

class StallWatch {
 public:
  // Warns once when `seconds` pass without progress, and again each time they double; 0 never warns.
  StallWatch(std::string what, double seconds);
  ~StallWatch();
  StallWatch(const StallWatch&) = delete;
  StallWatch& operator=(const StallWatch&) = delete;

  void progress();

 private:
  void watch();

  const std::string what_;
  const double seconds_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::chrono::steady_clock::time_point last_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace mose::train
