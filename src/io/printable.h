#pragma once

#include <algorithm>
#include <string>
#include <string_view>

namespace mose::io {

// Text out of a file, fit for a message: control characters become '?', and it is cut at 120 bytes.
inline std::string printable(std::string_view text) {
  std::string out(text.substr(0, 120));
  std::replace_if(out.begin(), out.end(), [](unsigned char c) { return c < ' ' || c == 0x7f; }, '?');
  return out;
}

}  // namespace mose::io
