// When the next request may be sent, and when a failed one again. Times are seconds on a clock of
// the caller, so that tests need not wait.
#pragma once

#include <algorithm>
#include <cmath>

namespace mose::eval {

// Requests evenly spaced over the minute: the n-th starts n · 60 / per_minute seconds after the
// first, and 0.05 s earlier at most, where one before it came late.
class RateLimit {
 public:
  explicit RateLimit(double per_minute) : interval_(per_minute > 0 ? 60 / per_minute : 0) {}

  // The earliest time for the next request.
  double next() const { return std::max(due_ - kSlack, held_until_); }
  void take(double now) { due_ = std::max(due_, now) + interval_; }
  // Nothing before this time: the server asked for a pause.
  void hold_until(double time) { held_until_ = std::max(held_until_, time); }

 private:
  static constexpr double kSlack = 0.05;
  double interval_, due_ = 0, held_until_ = 0;
};

// Seconds until attempt number `failed` + 1: first · 2^(failed - 1), at most 60, of which a random
// half is taken off (`random` in [0, 1)), so that many waiting requests do not return together;
// never less than the server asked for.
inline double retry_delay(int failed, double first, double retry_after, double random) {
  const double delay = std::min(60.0, first * std::pow(2.0, failed - 1));
  return std::max(retry_after, delay * (1 - random / 2));
}

}  // namespace mose::eval
