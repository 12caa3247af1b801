// Slurm's host lists: names separated by commas, each with any number of [ranges].
#include <charconv>

#include "mose/core/error.h"
#include "mose/core/strings.h"
#include "mose/dist/launch.h"

namespace mose::dist {
namespace {

constexpr size_t kMaxHosts = 65536;

[[noreturn]] void malformed(const std::string& list, const std::string& why) {
  throw UsageError(str("host list \"", list, "\": ", why, "; expected a form like node[01-04,7],login"));
}

// "01-04" -> 01, 02, 03, 04; "7" -> 7
std::vector<std::string> expand_range(const std::string& list, const std::string& range) {
  const auto number = [&](const std::string& digits) {
    int64_t value = -1;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    if (error != std::errc() || end != digits.data() + digits.size() || value < 0) {
      malformed(list, str("\"", range, "\" is no number and no range"));
    }
    return value;
  };
  const size_t dash = range.find('-');
  const std::string first = range.substr(0, dash), last = dash == std::string::npos ? first : range.substr(dash + 1);
  const int64_t low = number(first), high = number(last);
  if (high < low || high - low >= static_cast<int64_t>(kMaxHosts)) malformed(list, str("the range ", range, " is empty or too long"));
  std::vector<std::string> out;
  for (int64_t i = low; i <= high; ++i) {
    std::string digits = std::to_string(i);
    if (digits.size() < first.size()) digits.insert(0, first.size() - digits.size(), '0');
    out.push_back(digits);
  }
  return out;
}

}  // namespace

std::vector<std::string> expand_host_list(const std::string& list) {
  std::vector<std::string> hosts, names = {""};  // `names`: what the entry at hand can be so far
  const auto append = [&](const std::vector<std::string>& endings) {
    std::vector<std::string> longer;
    if (hosts.size() + names.size() * endings.size() > kMaxHosts) malformed(list, "it names too many hosts");
    for (const auto& name : names) {
      for (const auto& ending : endings) longer.push_back(name + ending);
    }
    names = std::move(longer);
  };
  const auto end_entry = [&] {
    if (names.front().empty()) malformed(list, "a host has no name");
    hosts.insert(hosts.end(), names.begin(), names.end());
    names = {""};
  };
  for (size_t i = 0; i < list.size(); ++i) {
    const char c = list[i];
    if (c == ',') {
      end_entry();
    } else if (c == '[') {
      const size_t close = list.find(']', i);
      if (close == std::string::npos) malformed(list, "a [ is not closed");
      std::vector<std::string> numbers;
      for (const auto& range : split(list.substr(i + 1, close - i - 1), ',')) {
        for (auto& number : expand_range(list, range)) numbers.push_back(std::move(number));
        if (numbers.size() > kMaxHosts) malformed(list, "it names too many hosts");
      }
      if (numbers.empty()) malformed(list, "[] is empty");
      append(numbers);
      i = close;
    } else if (c == ']' || static_cast<unsigned char>(c) <= ' ') {
      malformed(list, str("unexpected '", c, "'"));
    } else {
      append({std::string(1, c)});
    }
  }
  end_entry();
  return hosts;
}

}  // namespace mose::dist
