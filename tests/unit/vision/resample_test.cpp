#include "vision/resample.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>

#include "mose/core/random.h"
#include "mose/core/strings.h"

namespace mose::vision {
namespace {

constexpr double kPi = 3.14159265358979323846;

double sinc(double x) { return x == 0 ? 1 : std::sin(kPi * x) / (kPi * x); }

double kernel(Filter filter, double x) {
  const double d = std::abs(x);
  switch (filter) {
    case Filter::kBox: return x > -0.5 && x <= 0.5 ? 1 : 0;
    case Filter::kBilinear: return d < 1 ? 1 - d : 0;
    case Filter::kBicubic:
      return d < 1 ? 1.5 * d * d * d - 2.5 * d * d + 1 : d < 2 ? -0.5 * d * d * d + 2.5 * d * d - 4 * d + 2 : 0;
    default: return d < 3 ? sinc(x) * sinc(x / 3) : 0;
  }
}

using Plane = std::vector<std::vector<double>>;  // [height][width]

// One pass along rows over a canvas that is really there, in double precision, rounded to 8 bits.
Plane along_rows(const Plane& in, int64_t size, Filter filter) {
  const double radii[] = {0.5, 1, 2, 3};
  Plane out(in.size(), std::vector<double>(static_cast<size_t>(size)));
  const auto width = static_cast<int64_t>(in[0].size());
  const double scale = static_cast<double>(width) / static_cast<double>(size), stretch = std::max(scale, 1.0);
  for (int64_t i = 0; i < size; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const double radius = radii[static_cast<int>(filter)] * stretch;
    std::vector<double> weights(static_cast<size_t>(width), 0.0);
    double sum = 0;
    for (int64_t k = 0; k < width; ++k) {
      // Pillow rounds the reach to whole pixels, which decides where a box ends on a pixel's middle.
      if (k < static_cast<int64_t>(centre - radius + 0.5) || k >= static_cast<int64_t>(centre + radius + 0.5)) continue;
      const double x = static_cast<double>(k) - centre + 0.5;
      sum += weights[static_cast<size_t>(k)] = kernel(filter, x * (1 / stretch));
    }
    for (size_t y = 0; y < in.size(); ++y) {
      double value = 0;
      for (size_t k = 0; k < weights.size(); ++k) value += in[y][k] * weights[k] / sum;
      out[y][static_cast<size_t>(i)] = std::clamp(std::floor(value + 0.5), 0.0, 255.0);
    }
  }
  return out;
}

Plane turned(const Plane& in) {
  Plane out(in[0].size(), std::vector<double>(in.size()));
  for (size_t y = 0; y < in.size(); ++y) {
    for (size_t x = 0; x < in[0].size(); ++x) out[x][y] = in[y][x];
  }
  return out;
}

// The largest difference to the loops above, and the number of values that differ, over the three channels.
std::pair<double, int64_t> against_loops(const std::vector<uint8_t>& pixels, const Axis& across, const Axis& down,
                                        Filter filter, const std::array<uint8_t, 3>& border) {
  const std::vector<uint8_t> mine = resample(pixels.data(), across, down, filter, border);
  EXPECT_EQ(static_cast<int64_t>(mine.size()), across.count * down.count * 3);
  double largest = 0;
  int64_t differ = 0;
  for (size_t c = 0; c < 3; ++c) {
    Plane canvas(static_cast<size_t>(down.canvas), std::vector<double>(static_cast<size_t>(across.canvas), border[c]));
    for (int64_t y = 0; y < down.size; ++y) {
      for (int64_t x = 0; x < across.size; ++x) {
        canvas[static_cast<size_t>(y + down.before)][static_cast<size_t>(x + across.before)] =
            pixels[static_cast<size_t>((y * across.size + x) * 3) + c];
      }
    }
    const bool columns_first = down.canvas > down.resized && down.canvas - down.resized > 2 * (across.canvas - across.resized);
    const Plane theirs =
        columns_first
            ? along_rows(turned(along_rows(turned(canvas), down.resized, filter)), across.resized, filter)
            : turned(along_rows(turned(along_rows(canvas, across.resized, filter)), down.resized, filter));
    for (int64_t y = 0; y < down.count; ++y) {
      for (int64_t x = 0; x < across.count; ++x) {
        const double difference = std::abs(mine[static_cast<size_t>((y * across.count + x) * 3) + c] -
                                           theirs[static_cast<size_t>(y + down.first)][static_cast<size_t>(x + across.first)]);
        largest = std::max(largest, difference);
        differ += difference != 0;
      }
    }
  }
  return {largest, differ};
}

std::vector<uint8_t> noise(int64_t width, int64_t height, RandomStream& stream) {
  std::vector<uint8_t> pixels(static_cast<size_t>(width * height * 3));
  for (uint8_t& value : pixels) value = static_cast<uint8_t>(stream.integer(0, 255));
  return pixels;
}

TEST(Resample, EqualsLoopsInDoublePrecisionForEveryFilterSizeCanvasAndWindow) {
  RandomStream stream(5, "resample");
  const auto axis = [&] {
    const int64_t size = stream.integer(1, 70), before = stream.integer(0, 9);
    const int64_t canvas = size + before + stream.integer(0, 9), resized = stream.integer(1, 60);
    const int64_t first = stream.integer(0, resized - 1);
    return Axis{size, canvas, before, resized, first, stream.integer(1, resized - first)};
  };
  int64_t values = 0, differing = 0;
  for (int round = 0; round < 60; ++round) {
    const Axis across = axis(), down = axis();
    const auto filter = static_cast<Filter>(round % 4);
    const auto [largest, differ] = against_loops(noise(across.size, down.size, stream), across, down, filter, {7, 130, 255});
    const std::string what = str("round ", round, ": ", across.size, " x ", down.size, " to ", across.resized, " x ", down.resized);
    EXPECT_LE(largest, 1) << what;   // a half may round either way
    values += across.count * down.count * 3;
    differing += differ;
  }
  EXPECT_LT(differing, values / 100);
}

TEST(Resample, AConstantImageStaysConstant) {
  for (const int value : {0, 1, 127, 254, 255}) {
    const std::vector<uint8_t> pixels(31 * 17 * 3, static_cast<uint8_t>(value));
    for (const Filter filter : {Filter::kBox, Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}) {
      for (const int64_t size : {1, 5, 16, 50}) {
        for (const uint8_t out : resample(pixels.data(), whole(31, size), whole(17, size), filter)) ASSERT_EQ(out, value);
      }
    }
  }
}

TEST(Resample, TheSameSizeGivesTheSamePixels) {
  RandomStream stream(6, "resample");
  const std::vector<uint8_t> pixels = noise(37, 21, stream);
  for (const Filter filter : {Filter::kBox, Filter::kBilinear, Filter::kBicubic, Filter::kLanczos}) {
    EXPECT_EQ(resample(pixels.data(), whole(37, 37), whole(21, 21), filter), pixels);
  }
}

}  // namespace
}  // namespace mose::vision
