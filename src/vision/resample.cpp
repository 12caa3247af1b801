#include "vision/resample.h"

#include <algorithm>
#include <cmath>

namespace mose::vision {
namespace {

double triangle(double x) { return std::max(0.0, 1.0 - std::abs(x)); }

// Keys' cubic convolution with a = -1/2.
double cubic(double x) {
  constexpr double a = -0.5;
  x = std::abs(x);
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  if (x < 2) return (((x - 5) * x + 8) * x - 4) * a;
  return 0;
}

struct Taps {
  int64_t first = 0;
  std::vector<float> weights;  // sum 1
};

std::vector<Taps> make_taps(int64_t size, int64_t new_size, Filter filter) {
  const double scale = static_cast<double>(size) / static_cast<double>(new_size);
  const double stretch = std::max(scale, 1.0);
  const double support = (filter == Filter::kBicubic ? 2.0 : 1.0) * stretch;
  std::vector<Taps> taps(static_cast<size_t>(new_size));
  for (int64_t i = 0; i < new_size; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const auto last = std::min<int64_t>(size, static_cast<int64_t>(centre + support + 0.5));
    std::vector<double> weights;
    double sum = 0;
    for (int64_t k = first; k < last; ++k) {
      const double x = (static_cast<double>(k) - centre + 0.5) / stretch;
      weights.push_back(filter == Filter::kBicubic ? cubic(x) : triangle(x));
      sum += weights.back();
    }
    Taps& tap = taps[static_cast<size_t>(i)];
    tap.first = first;
    for (const double weight : weights) tap.weights.push_back(static_cast<float>(weight / sum));
  }
  return taps;
}

uint8_t to_byte(float value) {
  return static_cast<uint8_t>(std::clamp(value + 0.5f, 0.0f, 255.0f));
}

}  // namespace

std::vector<uint8_t> resample(const uint8_t* pixels, int64_t width, int64_t height,
                              int64_t new_width, int64_t new_height, Filter filter) {
  std::vector<uint8_t> rows(static_cast<size_t>(height * new_width * 3));
  const std::vector<Taps> across = make_taps(width, new_width, filter);
  for (int64_t y = 0; y < height; ++y) {
    for (int64_t x = 0; x < new_width; ++x) {
      const Taps& tap = across[static_cast<size_t>(x)];
      const uint8_t* in = pixels + (y * width + tap.first) * 3;
      float sum[3] = {0, 0, 0};
      for (const float weight : tap.weights) {
        for (int c = 0; c < 3; ++c) sum[c] += weight * static_cast<float>(*in++);
      }
      for (int c = 0; c < 3; ++c) {
        rows[static_cast<size_t>((y * new_width + x) * 3 + c)] = to_byte(sum[c]);
      }
    }
  }
  std::vector<uint8_t> out(static_cast<size_t>(new_height * new_width * 3));
  const std::vector<Taps> down = make_taps(height, new_height, filter);
  std::vector<float> sums(static_cast<size_t>(new_width * 3));
  for (int64_t y = 0; y < new_height; ++y) {
    const Taps& tap = down[static_cast<size_t>(y)];
    std::fill(sums.begin(), sums.end(), 0.0f);
    const uint8_t* in = rows.data() + tap.first * new_width * 3;
    for (const float weight : tap.weights) {
      for (float& sum : sums) sum += weight * static_cast<float>(*in++);
    }
    uint8_t* to = out.data() + y * new_width * 3;
    for (const float sum : sums) *to++ = to_byte(sum);
  }
  return out;
}

}  // namespace mose::vision
