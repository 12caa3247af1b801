// Small string helpers that the standard library of C++20 lacks.
#pragma once

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace mose {

// Concatenates anything that has operator<<.
template <class... Args>
std::string str(const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return out.str();
}

std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string trim(std::string_view text);
std::string to_lower(std::string_view text);  // ASCII only
std::string replace_all(std::string text, std::string_view from, std::string_view to);

// Escapes &, <, >, " and ' for HTML text and attributes.
std::string html_escape(std::string_view text);

// The candidate with the smallest edit distance to `name`, or "" when none is near (more than a
// third of the letters differ).
std::string nearest_name(std::string_view name, const std::vector<std::string>& candidates);

// 1234567 -> "1.23 M"; used for parameters and counts.
std::string human_count(double value);
// Bytes with a binary unit: "1.5 GiB".
std::string human_bytes(double bytes);
// Seconds as "1 h 02 min", "3 min 05 s" or "4.2 s".
std::string human_seconds(double seconds);
// Fixed number of decimals.
std::string fixed(double value, int decimals);

}  // namespace mose
