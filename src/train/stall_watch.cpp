#include "train/stall_watch.h"

#include "mose/core/log.h"

namespace mose::train {

using Clock = std::chrono::steady_clock;

StallWatch::StallWatch(std::string what, double seconds) : what_(std::move(what)), seconds_(seconds), last_(Clock::now()) {
  if (seconds_ > 0) thread_ = std::thread([this] { watch(); });
}

StallWatch::~StallWatch() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void StallWatch::progress() {
  {
    const std::lock_guard lock(mutex_);
    last_ = Clock::now();
  }
  changed_.notify_all();
}

void StallWatch::watch() {
  std::unique_lock lock(mutex_);
  while (!stopping_) {
    const auto since = last_;
    double limit = seconds_;
    // Sleeps until progress or the limit, whichever comes first.
    while (!stopping_ && last_ == since) {
      const auto until = since + std::chrono::duration_cast<Clock::duration>(std::chrono::duration<double>(limit));
      if (changed_.wait_until(lock, until, [&] { return stopping_ || last_ != since; })) break;
      log::warn(what_, ": no progress for ", human_seconds(limit));
      limit *= 2;
    }
  }
}

}  // namespace mose::train
