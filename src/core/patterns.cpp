#include "mose/core/patterns.h"

namespace mose {

bool matches(const std::string& name, const std::string& pattern) {
  // The last * is where matching resumes after a mismatch.
  size_t n = 0, p = 0, star = std::string::npos, resume = 0;
  while (n < name.size()) {
    if (p < pattern.size() && pattern[p] == '*') {
      star = p++;
      resume = n;
    } else if (p < pattern.size() && pattern[p] == name[n]) {
      ++p;
      ++n;
    } else if (star != std::string::npos) {
      p = star + 1;
      n = ++resume;
    } else {
      return false;
    }
  }
  while (p < pattern.size() && pattern[p] == '*') ++p;
  return p == pattern.size();
}

bool chosen(const std::string& name, const std::vector<std::string>& patterns) {
  bool in = false;
  for (const auto& pattern : patterns) {
    if (pattern.starts_with('!')) {
      if (matches(name, pattern.substr(1))) in = false;
    } else if (matches(name, pattern)) {
      in = true;
    }
  }
  return in;
}

}  // namespace mose
