// TCP connections that carry short lines and never block.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace mose::dist {

// A file descriptor that is closed with its owner.
class Descriptor {
 public:
  explicit Descriptor(int value = -1) : value_(value) {}
  Descriptor(Descriptor&& other) noexcept : value_(std::exchange(other.value_, -1)) {}
  Descriptor& operator=(Descriptor&& other) noexcept;
  ~Descriptor();
  int get() const { return value_; }

 private:
  int value_;
};

class LineSocket {
 public:
  explicit LineSocket(Descriptor descriptor);
  int descriptor() const { return descriptor_.get(); }
  // Appends what has come; false once the other end has closed.
  bool read(std::vector<std::string>& lines);
  // Sends as much as goes; the rest goes with the next call. False when the other end has closed.
  bool write(const std::string& line);
  bool flush();
  bool unsent() const { return !out_.empty(); }

 private:
  Descriptor descriptor_;
  std::string in_, out_;
};

// Listens on every address at a port of the kernel's choice, which goes to `port`. Error when it cannot.
Descriptor listen_anywhere(int64_t& port);
// An invalid descriptor when nobody waits to be accepted.
Descriptor accept_one(const Descriptor& listening);
// Error names host and port when nothing answers within `seconds`.
Descriptor connect_to(const std::string& host, int64_t port, double seconds);
// The address of this machine that packets to `host` leave from: one by which the others can reach it.
std::string address_towards(const std::string& host, int64_t port);

}  // namespace mose::dist
