// A text under rewriting that remembers which bytes of the original each of its bytes stands for.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "text/pattern.h"

namespace mose::text {

struct TrackedText {
  std::string bytes;
  bool tracked = false;  // whether anyone will ask for origins
  size_t base = 0;       // origin of the first byte while nothing was rewritten
  // Origins by byte, [begins[i], ends[i]); empty while nothing was rewritten.
  std::vector<uint32_t> begins, ends;

  // The bytes of the original that bytes [range.first, range.second) stand for.
  Range origin(Range range) const;
  TrackedText slice(Range range) const;
};

// Builds the next form of a text from kept and replaced parts.
class Rewriter {
 public:
  explicit Rewriter(const TrackedText& from) : from_(from) {
    to_.tracked = from.tracked;
    to_.base = from.base;
  }
  void keep(size_t begin, size_t end);
  // `bytes` in place of [begin, end), which may be empty (an insertion).
  void put(std::string_view bytes, size_t begin, size_t end);
  size_t size() const { return to_.bytes.size(); }
  TrackedText finish() { return std::move(to_); }

 private:
  const TrackedText& from_;
  TrackedText to_;
};

}  // namespace mose::text
