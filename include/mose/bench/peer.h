// A peer: what users would take instead, in a Python process that lives as long as the comparison, so
// that both sides alternate in one run and starting up is never counted.
#pragma once

#include <filesystem>
#include <string>

#include "mose/core/json.h"

namespace mose::bench {

// Speaks JSON lines with scripts/bench/peers/serve.py: {"do": function, ...} -> {...} or {"error": text}.
class Peer {
 public:
  // `module` is a file of scripts/bench/peers. `threads` go to OpenMP and rayon. Error when the process
  // cannot be started.
  Peer(const std::string& python, const std::string& module, int64_t threads);
  ~Peer();  // ends the process
  Peer(const Peer&) = delete;
  Peer& operator=(const Peer&) = delete;

  // Calls the module's function with the other keys as arguments. Error with the peer's own words when
  // it fails (a package that is not installed), with the end of its stderr when it dies; Interrupted
  // after a signal.
  Json call(const std::string& function, Json arguments = Json::object());
  // call(...)["seconds"]
  double seconds(const std::string& function, Json arguments = Json::object());

 private:
  std::string read_line();
  [[noreturn]] void fail(const std::string& what);

  std::string module_, buffer_;
  std::filesystem::path log_;
  int to_ = -1, from_ = -1, process_ = -1;
};

// The project's own Python where the source tree has one, else "python3".
std::string default_python();

}  // namespace mose::bench
