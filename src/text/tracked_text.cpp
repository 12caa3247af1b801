#include "text/tracked_text.h"

#include <algorithm>

namespace mose::text {

Range TrackedText::origin(Range range) const {
  const auto [begin, end] = range;
  if (begins.empty()) return {base + begin, base + end};
  if (begin == end) {
    const size_t at = begin < begins.size() ? begins[begin] : (ends.empty() ? base : ends.back());
    return {at, at};
  }
  // Inserted bytes stand for empty ranges, so neither end alone is enough.
  size_t first = begins[begin], last = ends[begin];
  for (size_t i = begin + 1; i < end; ++i) {
    first = std::min<size_t>(first, begins[i]);
    last = std::max<size_t>(last, ends[i]);
  }
  return {first, last};
}

TrackedText TrackedText::slice(Range range) const {
  TrackedText out;
  out.bytes = bytes.substr(range.first, range.second - range.first);
  out.tracked = tracked;
  out.base = base + range.first;
  if (!begins.empty()) {
    const auto first = static_cast<std::ptrdiff_t>(range.first);
    const auto last = static_cast<std::ptrdiff_t>(range.second);
    out.begins.assign(begins.begin() + first, begins.begin() + last);
    out.ends.assign(ends.begin() + first, ends.begin() + last);
  }
  return out;
}

void Rewriter::keep(size_t begin, size_t end) {
  to_.bytes.append(from_.bytes, begin, end - begin);
  if (!to_.tracked) return;
  for (size_t i = begin; i < end; ++i) {
    const Range origin = from_.origin({i, i + 1});
    to_.begins.push_back(static_cast<uint32_t>(origin.first));
    to_.ends.push_back(static_cast<uint32_t>(origin.second));
  }
}

void Rewriter::put(std::string_view bytes, size_t begin, size_t end) {
  to_.bytes.append(bytes);
  if (!to_.tracked) return;
  const Range origin = from_.origin({begin, end});
  to_.begins.insert(to_.begins.end(), bytes.size(), static_cast<uint32_t>(origin.first));
  to_.ends.insert(to_.ends.end(), bytes.size(), static_cast<uint32_t>(origin.second));
}

}  // namespace mose::text
