// Logging to stderr, and to files of a run. spdlog stays behind this header.
#pragma once

#include <filesystem>
#include <string>

#include "mose/core/strings.h"

namespace mose::log {

// "trace", "debug", "info", "warn", "error" or "off"; UsageError on another word.
void set_level(const std::string& level);
// Only warnings and errors on stderr; files still get everything.
void set_quiet(bool quiet);
bool quiet();
// Also writes every later line to `path` (appended).
void add_file(const std::filesystem::path& path);
void close_files();

void write(int level, const std::string& message);

template <class... Args>
void debug(const Args&... args) { write(1, str(args...)); }
template <class... Args>
void info(const Args&... args) { write(2, str(args...)); }
template <class... Args>
void warn(const Args&... args) { write(3, str(args...)); }
template <class... Args>
void error(const Args&... args) { write(4, str(args...)); }

}  // namespace mose::log
