// Values made ahead by threads and taken in order.
#pragma once

#include <chrono>
#include <condition_variable>
#include <exception>
#include <functional>
#include <map>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

namespace mose::infer {

template <class T>
class Prefetch {
 public:
  // make(i) for i in [0, count) by `workers` threads; at most `ahead` values wait to be taken.
  Prefetch(size_t count, int64_t workers, size_t ahead, std::function<T(size_t)> make)
      : count_(count), ahead_(ahead), make_(std::move(make)) {
    for (int64_t i = 0; i < workers; ++i) threads_.emplace_back([this] { work(); });
  }
  ~Prefetch() {
    {
      const std::lock_guard lock(mutex_);
      stopping_ = true;
    }
    changed_.notify_all();
    for (auto& thread : threads_) thread.join();
  }
  Prefetch(const Prefetch&) = delete;
  Prefetch& operator=(const Prefetch&) = delete;

  // The next value, nothing after the last one; throws what make() threw for it.
  std::optional<T> next() {
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex_);
    if (taken_ == count_) return std::nullopt;
    changed_.wait(lock, [&] { return made_.contains(taken_); });
    Made made = std::move(made_.extract(taken_).mapped());
    ++taken_;
    waited_ += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    changed_.notify_all();
    if (made.error) std::rethrow_exception(made.error);
    return std::move(made.value);
  }

  double wait_seconds() const { return waited_; }  // that next() took

 private:
  struct Made {
    std::optional<T> value;
    std::exception_ptr error;
  };

  void work() {
    std::unique_lock lock(mutex_);
    for (;;) {
      changed_.wait(lock, [&] { return stopping_ || started_ == count_ || started_ < taken_ + ahead_; });
      if (stopping_ || started_ == count_) return;
      const size_t i = started_++;
      lock.unlock();
      Made made;
      try {
        made.value = make_(i);
      } catch (...) {
        made.error = std::current_exception();
      }
      lock.lock();
      made_.emplace(i, std::move(made));
      changed_.notify_all();
    }
  }

  const size_t count_, ahead_;
  const std::function<T(size_t)> make_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<size_t, Made> made_;
  size_t started_ = 0, taken_ = 0;
  double waited_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

}  // namespace mose::infer
