// One honest progress line: what, how far, how fast, how long still. A live bar on a terminal, a
// plain log line every few seconds otherwise, nothing with --quiet.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>

namespace mose {

class Progress {
 public:
  // `total` 0 means unknown. `unit` names what is counted ("images", "steps"). A resumed job starts at `done`.
  Progress(std::string what, int64_t total, std::string unit, int64_t done = 0);
  ~Progress();  // ends the line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  void advance(int64_t count = 1, const std::string& note = "");
  void set(int64_t done, const std::string& note = "");

 private:
  void show(bool last);

  std::string what_, unit_, note_;
  int64_t total_, done_, first_;
  bool terminal_, finished_ = false;
  std::chrono::steady_clock::time_point start_, shown_;
};

}  // namespace mose
