// Damaged input, thousands of forms of it: a reader takes it or refuses it with an error that blames the data,
// within its time and memory, and nothing else may happen. MOSE_FUZZ_SEED draws other forms than the usual.
#pragma once

#include <gtest/gtest.h>
#include <sys/resource.h>
#include <unistd.h>

#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "mose/core/error.h"
#include "mose/core/json.h"
#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose {

// Not write_file, which waits for the disk.
inline void write_quickly(const std::filesystem::path& file, const std::string& bytes) {
  std::FILE* f = std::fopen(file.c_str(), "wb");
  ASSERT_NE(f, nullptr) << file;
  ASSERT_EQ(std::fwrite(bytes.data(), 1, bytes.size(), f), bytes.size());
  std::fclose(f);
}

// Up to four bytes changed, pieces erased, repeated or put in, the end cut off. Half of the damage goes to the
// first `front` bytes.
inline std::string damaged_bytes(std::string bytes, RandomStream& random, const std::vector<std::string>& pieces,
                                 int64_t front = 1500) {
  for (int64_t n = random.integer(1, 4); n > 0 && !bytes.empty(); --n) {
    const int64_t end = static_cast<int64_t>(bytes.size()) - 1;
    const auto at = static_cast<size_t>(random.integer(0, random.chance(0.5) ? std::min(end, front) : end));
    const auto size = static_cast<size_t>(random.integer(1, 12));
    switch (random.integer(0, 5)) {
      case 0: bytes[at] = static_cast<char>(random.integer(0, 255)); break;
      case 1: bytes.erase(at, size); break;
      case 2: bytes.insert(at, bytes.substr(at, size)); break;
      case 3: bytes.insert(at, random.choice(pieces)); break;
      case 4: bytes.replace(at, std::min(size, bytes.size() - at), random.choice(pieces)); break;
      default: bytes.resize(random.chance(0.3) ? at : bytes.size()); break;
    }
  }
  return bytes;
}

inline const std::vector<std::string>& json_pieces() {
  static const std::vector<std::string> pieces = {
      "{", "}", "[", "]", "\"", ",", ":", "null", "true", "-1", "0", "1e99", "1e-320", "4294967295", "-9223372036854775808",
      "99999999999999999999", "\\u0000", "\\ud800", "\xC3", "\xff", std::string(1, '\0'), "../", "[[[[[[[["};
  return pieces;
}

// A value that no reader expects, or one from elsewhere in the document.
inline Json odd_json(const Json& old, const Json& whole, RandomStream& random) {
  if (old.is_number() && random.chance(0.4)) {
    const double value = old.get<double>();
    const int64_t whole_number = std::abs(value) < 1e15 ? static_cast<int64_t>(value) : 0;
    return random.choice(std::vector<Json>{-value, value * 2, value + 1, value / 3, value * 1e6, whole_number - 1});
  }
  if (whole.is_structured() && !whole.empty() && random.chance(0.2)) {
    return *std::next(whole.begin(), random.integer(0, static_cast<int64_t>(whole.size()) - 1));
  }
  Json deep = Json::array();
  for (int i = 0; i < 100; ++i) deep = Json::array({deep});
  static const std::vector<Json> odd = {
      nullptr, true, false, 0, 1, -1, 3, 64, 1000, 65536, 2147483647, 2147483648, INT64_MAX, INT64_MIN, UINT64_MAX, 0.5, -1e-300, 1e300,
      "", "x", "../x", "/etc/passwd", std::string(1, '\0'), std::string(5000, 'y'), Json::array(), Json::object(),
      Json::array({1, "a", nullptr}), Json{{"a", 1}}};
  return random.chance(0.05) ? deep : random.choice(odd);
}

inline void spoil(Json& node, const Json& whole, RandomStream& random) {
  if (!node.is_structured() || node.empty() || random.chance(0.1)) {
    node = odd_json(node, whole, random);
    return;
  }
  const auto at = std::next(node.begin(), random.integer(0, static_cast<int64_t>(node.size()) - 1));
  const double way = random.uniform();
  if (way < 0.1) {
    node.erase(at);
  } else if (way < 0.2 && node.is_array()) {
    node.push_back(Json(*at));
  } else if (way < 0.2) {
    node[at.key() + "_"] = Json(*at);
  } else {
    spoil(*at, whole, random);
  }
}

// One to three places of the document changed; it stays JSON.
inline Json damaged_json(const Json& good, RandomStream& random) {
  Json out = good;
  for (int64_t n = random.integer(1, 3); n > 0; --n) spoil(out, good, random);
  return out;
}

// While it lives, the process may take `bytes` more. Sanitizers reserve memory of their own.
class MemoryLimit {
 public:
  explicit MemoryLimit(uint64_t bytes) {
    getrlimit(RLIMIT_DATA, &before_);
#ifndef __SANITIZE_ADDRESS__
    unsigned long data = 0;
    std::FILE* f = std::fopen("/proc/self/statm", "r");
    if (!f || std::fscanf(f, "%*u %*u %*u %*u %*u %lu", &data) != 1) ADD_FAILURE() << "/proc/self/statm";
    if (f) std::fclose(f);
    const rlimit limit{data * static_cast<unsigned long>(sysconf(_SC_PAGESIZE)) + bytes, before_.rlim_max};
    setrlimit(RLIMIT_DATA, &limit);
#endif
  }
  ~MemoryLimit() { setrlimit(RLIMIT_DATA, &before_); }
  MemoryLimit(const MemoryLimit&) = delete;
  MemoryLimit& operator=(const MemoryLimit&) = delete;

 private:
  rlimit before_{};
};

// Runs `work` so many times, each with a stream of its own. Returns how often it threw nothing.
inline int64_t survive(const std::string& what, int64_t cases, const std::function<void(RandomStream&)>& work,
                       uint64_t memory = uint64_t{512} << 20) {
  const char* chosen = std::getenv("MOSE_FUZZ_SEED");
  const uint64_t seed = chosen ? std::strtoull(chosen, nullptr, 10) : 1;
  const MemoryLimit limit(memory);
  int64_t taken = 0;
  for (int64_t i = 0; i < cases; ++i) {
    SCOPED_TRACE(str(what, ": MOSE_FUZZ_SEED=", seed, ", case ", i));
    RandomStream random(seed, str(what, " ", i));
    const auto start = std::chrono::steady_clock::now();
    try {
      work(random);
      ++taken;
    } catch (const DataError&) {
    } catch (const std::exception& e) {
      ADD_FAILURE() << "expected a DataError, found " << typeid(e).name() << ": " << e.what();
    }
    const std::chrono::duration<double> took = std::chrono::steady_clock::now() - start;
    EXPECT_LT(took.count(), 10) << "seconds";
  }
  return taken;
}

}  // namespace mose
