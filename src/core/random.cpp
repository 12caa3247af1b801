#include "mose/core/random.h"

#include <cmath>
#include <numbers>
#include <sstream>

#include "mose/core/error.h"

namespace mose {
namespace {

uint64_t split_mix(uint64_t& x) {
  uint64_t z = (x += 0x9e3779b97f4a7c15ull);
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

uint64_t fnv1a(std::string_view text) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ull;
  return hash;
}

uint64_t rotate_left(uint64_t x, int k) { return (x << k) | (x >> (64 - k)); }

}  // namespace

RandomStream::RandomStream(uint64_t seed, std::string_view name) {
  uint64_t x = seed;
  x = split_mix(x) ^ fnv1a(name);
  for (uint64_t& word : s_) word = split_mix(x);
}

uint64_t RandomStream::next() {
  const uint64_t result = rotate_left(s_[1] * 5, 7) * 9;
  const uint64_t t = s_[1] << 17;
  s_[2] ^= s_[0];
  s_[3] ^= s_[1];
  s_[1] ^= s_[2];
  s_[0] ^= s_[3];
  s_[2] ^= t;
  s_[3] = rotate_left(s_[3], 45);
  return result;
}

double RandomStream::uniform() { return static_cast<double>(next() >> 11) * 0x1.0p-53; }

double RandomStream::uniform(double low, double high) { return low + (high - low) * uniform(); }

int64_t RandomStream::integer(int64_t low, int64_t high) {
  if (high < low) throw Error("RandomStream::integer: the upper end is below the lower end");
  const uint64_t range = static_cast<uint64_t>(high) - static_cast<uint64_t>(low) + 1;
  if (range == 0) return static_cast<int64_t>(next());
  // Rejection keeps every value equally likely.
  const uint64_t limit = UINT64_MAX - UINT64_MAX % range;
  uint64_t value = next();
  while (value >= limit) value = next();
  return static_cast<int64_t>(static_cast<uint64_t>(low) + value % range);
}

double RandomStream::normal() {
  // Box and Muller's transform; the second value is not kept, so that the state is only the words.
  const double u = 1.0 - uniform();
  return std::sqrt(-2.0 * std::log(u)) * std::cos(2.0 * std::numbers::pi * uniform());
}

bool RandomStream::chance(double probability) { return uniform() < probability; }

size_t RandomStream::weighted(const std::vector<double>& weights) {
  double sum = 0;
  for (const double w : weights) sum += w;
  if (!(sum > 0)) throw Error("RandomStream::weighted: the weights sum to 0");
  double at = uniform() * sum;
  for (size_t i = 0; i < weights.size(); ++i) {
    at -= weights[i];
    if (at < 0 && weights[i] > 0) return i;
  }
  size_t last = weights.size() - 1;
  while (weights[last] <= 0) --last;
  return last;
}

std::string RandomStream::state() const {
  std::ostringstream out;
  out << std::hex << s_[0] << ' ' << s_[1] << ' ' << s_[2] << ' ' << s_[3];
  return out.str();
}

void RandomStream::set_state(const std::string& state) {
  std::istringstream in(state);
  std::array<uint64_t, 4> words{};
  in >> std::hex >> words[0] >> words[1] >> words[2] >> words[3];
  if (in.fail()) throw DataError("random stream: the saved state \"" + state + "\" is malformed");
  s_ = words;
}

}  // namespace mose
