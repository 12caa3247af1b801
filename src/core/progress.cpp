#include "mose/core/progress.h"

#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "mose/core/log.h"

namespace mose {

using Clock = std::chrono::steady_clock;

Progress::Progress(std::string what, int64_t total, std::string unit, int64_t done)
    : what_(std::move(what)),
      unit_(std::move(unit)),
      total_(total),
      done_(done),
      first_(done),
      terminal_(isatty(STDERR_FILENO) == 1),
      start_(Clock::now()),
      shown_(start_) {}

Progress::~Progress() {
  if (done_ > first_) show(true);
}

void Progress::advance(int64_t count, const std::string& note) { set(done_ + count, note); }

void Progress::set(int64_t done, const std::string& note) {
  done_ = done;
  if (!note.empty()) note_ = note;
  const double since = std::chrono::duration<double>(Clock::now() - shown_).count();
  if (since >= (terminal_ ? 0.2 : 10.0)) show(false);
}

void Progress::show(bool last) {
  if (log::quiet() || finished_) return;
  shown_ = Clock::now();
  const double seconds = std::chrono::duration<double>(shown_ - start_).count();
  const double rate = static_cast<double>(done_ - first_) / std::max(seconds, 1e-9);
  std::string line = str(what_, " ", done_);
  if (total_ > 0) line += str("/", total_, " ", unit_, " (", done_ * 100 / total_, " %)");
  else line += " " + unit_;
  line += str(", ", fixed(rate, rate < 10 ? 2 : 0), " ", unit_, "/s");
  if (!note_.empty()) line += ", " + note_;
  if (last) line += ", took " + human_seconds(seconds);
  else if (total_ > 0 && rate > 0) line += ", " + human_seconds(static_cast<double>(total_ - done_) / rate) + " left";
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s%s", line.c_str(), last ? "\n" : "");
    std::fflush(stderr);
  } else {
    log::info(line);
  }
  finished_ = last;
}

}  // namespace mose
