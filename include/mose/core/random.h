// Named, seeded random streams with results that do not depend on the standard library.
//
// Generator: xoshiro256** (Blackman and Vigna), seeded by SplitMix64 from (seed, hash of the name).
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace mose {

class RandomStream {
 public:
  RandomStream(uint64_t seed, std::string_view name);

  uint64_t next();
  double uniform();                         // [0, 1)
  double uniform(double low, double high);  // [low, high)
  int64_t integer(int64_t low, int64_t high);  // inclusive at both ends
  double normal();                          // mean 0, variance 1
  bool chance(double probability);
  // An index drawn with probability proportional to weights[i] (all >= 0, one > 0).
  size_t weighted(const std::vector<double>& weights);

  template <class T>
  const T& choice(const std::vector<T>& items) {
    return items[static_cast<size_t>(integer(0, static_cast<int64_t>(items.size()) - 1))];
  }
  template <class T>
  void shuffle(std::vector<T>& items) {
    for (size_t i = items.size(); i > 1; --i) {
      std::swap(items[i - 1], items[static_cast<size_t>(integer(0, static_cast<int64_t>(i) - 1))]);
    }
  }

  // The whole state as text, for checkpoints.
  std::string state() const;
  void set_state(const std::string& state);  // DataError on text that state() did not write

 private:
  std::array<uint64_t, 4> s_;
};

}  // namespace mose
