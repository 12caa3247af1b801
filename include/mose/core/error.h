// The one family of exceptions. Each carries the exit code a program ends with.
#pragma once

#include <stdexcept>
#include <string>

namespace mose {

// Exit codes shared by every program; a signal n ends a program with 128 + n.
enum class ExitCode : int { kOk = 0, kRuntime = 1, kUsage = 2, kData = 3, kDivergence = 4 };

// A message says what was being done, with which input (path, key, index), what was expected and
// what was found.
class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, int exit_code = static_cast<int>(ExitCode::kRuntime))
      : std::runtime_error(message), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

// A wrong command line, config key or config value.
class UsageError : public Error {
 public:
  explicit UsageError(const std::string& message)
      : Error(message, static_cast<int>(ExitCode::kUsage)) {}
};

// A file that is missing, truncated or malformed: annotations, images, checkpoints.
class DataError : public Error {
 public:
  explicit DataError(const std::string& message)
      : Error(message, static_cast<int>(ExitCode::kData)) {}
};

// A loss or gradient that is not finite.
class DivergenceError : public Error {
 public:
  explicit DivergenceError(const std::string& message)
      : Error(message, static_cast<int>(ExitCode::kDivergence)) {}
};

// Work stopped by a signal, after what had to be saved was saved.
class Interrupted : public Error {
 public:
  explicit Interrupted(int signal);
};

}  // namespace mose
