#include "vision/resample.h"

#include <algorithm>
#include <cmath>
#include <numbers>

#ifdef __x86_64__
#include <immintrin.h>
#endif

namespace mose::vision {
namespace {

constexpr int kBits = 22;  // of a weight, behind the point
constexpr int32_t kHalf = 1 << (kBits - 1);
constexpr int64_t kRows = 16;  // resampled together along rows

double sinc(double x) { return x == 0 ? 1 : std::sin(std::numbers::pi * x) / (std::numbers::pi * x); }

double weight_at(Filter filter, double x) {
  if (filter == Filter::kBox) return x > -0.5 && x <= 0.5 ? 1 : 0;
  if (filter == Filter::kLanczos) return x >= -3 && x < 3 ? sinc(x) * sinc(x / 3) : 0;
  x = std::abs(x);
  if (filter == Filter::kBilinear) return std::max(0.0, 1.0 - x);
  constexpr double a = -0.5;  // Keys' cubic convolution
  if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
  return x < 2 ? (((x - 5) * x + 8) * x - 4) * a : 0;
}

double support_of(Filter filter) {
  switch (filter) {
    case Filter::kBox: return 0.5;
    case Filter::kBilinear: return 1;
    case Filter::kBicubic: return 2;
    default: return 3;
  }
}

// The image's pixels that make one output, and the weight of the border around them.
struct Taps {
  int64_t first = 0, count = 0;
  size_t weights = 0;  // where they begin in Table::weights
  int32_t border = 0;
};

struct Table {
  std::vector<Taps> taps;
  std::vector<int32_t> weights;
  int64_t begin = 0, end = 0;  // the image's pixels that any output needs
};

Table make_table(const Axis& axis, Filter filter) {
  const double scale = static_cast<double>(axis.canvas) / static_cast<double>(axis.resized);
  const double stretch = std::max(scale, 1.0);
  const double support = support_of(filter) * stretch;
  Table table{{}, {}, axis.size, 0};
  std::vector<double> weights;
  for (int64_t i = axis.first; i < axis.first + axis.count; ++i) {
    const double centre = (static_cast<double>(i) + 0.5) * scale;
    const auto first = std::max<int64_t>(0, static_cast<int64_t>(centre - support + 0.5));
    const auto last = std::min<int64_t>(axis.canvas, static_cast<int64_t>(centre + support + 0.5));
    weights.clear();
    double sum = 0;
    for (int64_t k = first; k < last; ++k) {
      weights.push_back(weight_at(filter, (static_cast<double>(k) - centre + 0.5) * (1.0 / stretch)));
      sum += weights.back();
    }
    Taps taps;
    taps.weights = table.weights.size();
    taps.first = std::clamp<int64_t>(first - axis.before, 0, axis.size);
    taps.count = std::clamp<int64_t>(last - axis.before, 0, axis.size) - taps.first;
    for (int64_t k = first; k < last; ++k) {
      double weight = weights[static_cast<size_t>(k - first)];
      if (sum != 0) weight /= sum;
      const auto fixed = static_cast<int32_t>((weight < 0 ? -0.5 : 0.5) + weight * (1 << kBits));
      const bool inside = k >= axis.before && k < axis.before + axis.size;
      if (inside) {
        table.weights.push_back(fixed);
      } else {
        taps.border += fixed;
      }
    }
    if (taps.count > 0) {
      table.begin = std::min(table.begin, taps.first);
      table.end = std::max(table.end, taps.first + taps.count);
    }
    table.taps.push_back(taps);
  }
  table.begin = std::min(table.begin, table.end);
  for (Taps& taps : table.taps) taps.first = std::max(taps.first, table.begin);  // where only border counts
  return table;
}

// [rows, width] to [width, rows]. On x86, squares of 16: interleaving rows i and i + 8 four times turns one.
void turn(const uint8_t* in, int64_t in_stride, int64_t rows, int64_t width, uint8_t* out, int64_t out_stride) {
  int64_t r = 0;
#ifdef __x86_64__
  for (; r + 16 <= rows; r += 16) {
    int64_t x = 0;
    for (; x + 16 <= width; x += 16) {
      __m128i square[16], next[16];
      for (int i = 0; i < 16; ++i) {
        square[i] = _mm_loadu_si128(reinterpret_cast<const __m128i*>(in + (r + i) * in_stride + x));
      }
      for (int round = 0; round < 4; ++round) {
        for (int i = 0; i < 8; ++i) {
          next[2 * i] = _mm_unpacklo_epi8(square[i], square[i + 8]);
          next[2 * i + 1] = _mm_unpackhi_epi8(square[i], square[i + 8]);
        }
        std::copy(next, next + 16, square);
      }
      for (int i = 0; i < 16; ++i) {
        _mm_storeu_si128(reinterpret_cast<__m128i*>(out + (x + i) * out_stride + r), square[i]);
      }
    }
    for (; x < width; ++x) {
      for (int i = 0; i < 16; ++i) out[x * out_stride + r + i] = in[(r + i) * in_stride + x];
    }
  }
#endif
  for (; r < rows; ++r) {
    for (int64_t x = 0; x < width; ++x) out[x * out_stride + r] = in[r * in_stride + x];
  }
}

// out[l] = sum over taps t of weight_t * in[t * stride + l], plus the border's share, rounded; l < lanes.
using Weigh = void (*)(const uint8_t* in, int64_t stride, const int32_t* weights, const Taps& taps,
                       const uint8_t* border, int64_t lanes, uint8_t* out);

void weigh_plain(const uint8_t* in, int64_t stride, const int32_t* weights, const Taps& taps, const uint8_t* border,
                 int64_t lanes, uint8_t* out) {
  constexpr int64_t kChunk = 48;
  int32_t sums[kChunk];
  for (int64_t at = 0; at < lanes; at += kChunk) {
    const int64_t count = std::min(kChunk, lanes - at);
    for (int64_t l = 0; l < count; ++l) sums[l] = kHalf + border[at + l] * taps.border;
    for (int64_t t = 0; t < taps.count; ++t) {
      const uint8_t* values = in + t * stride + at;
      const int32_t weight = weights[t];
      for (int64_t l = 0; l < count; ++l) sums[l] += values[l] * weight;
    }
    for (int64_t l = 0; l < count; ++l) out[at + l] = static_cast<uint8_t>(std::clamp(sums[l] >> kBits, 0, 255));
  }
}

#ifdef __x86_64__
// The same for eight values an instruction, where the CPU has it: a whole resize is then five times as fast.
__attribute__((target("avx2"))) inline __m256i product(const uint8_t* values, int32_t weight) {
  const __m128i bytes = _mm_loadl_epi64(reinterpret_cast<const __m128i*>(values));
  return _mm256_mullo_epi32(_mm256_cvtepu8_epi32(bytes), _mm256_set1_epi32(weight));
}

template <int kVectors>
__attribute__((target("avx2"))) inline void weigh_vectors(const uint8_t* in, int64_t stride, const int32_t* weights,
                                                          const Taps& taps, const uint8_t* border, uint8_t* out) {
  __m256i sums[kVectors];
  for (int v = 0; v < kVectors; ++v) {
    sums[v] = _mm256_add_epi32(product(border + 8 * v, taps.border), _mm256_set1_epi32(kHalf));
  }
  for (int64_t t = 0; t < taps.count; ++t) {
    const uint8_t* values = in + t * stride;
    for (int v = 0; v < kVectors; ++v) sums[v] = _mm256_add_epi32(sums[v], product(values + 8 * v, weights[t]));
  }
  for (int v = 0; v < kVectors; ++v) {
    const __m256i shifted = _mm256_srai_epi32(sums[v], kBits);
    const __m128i words = _mm_packs_epi32(_mm256_castsi256_si128(shifted), _mm256_extracti128_si256(shifted, 1));
    _mm_storel_epi64(reinterpret_cast<__m128i*>(out + 8 * v), _mm_packus_epi16(words, words));
  }
}

__attribute__((target("avx2"))) void weigh_avx2(const uint8_t* in, int64_t stride, const int32_t* weights,
                                                const Taps& taps, const uint8_t* border, int64_t lanes, uint8_t* out) {
  int64_t at = 0;
  for (; at + 48 <= lanes; at += 48) weigh_vectors<6>(in + at, stride, weights, taps, border + at, out + at);
  for (; at + 8 <= lanes; at += 8) weigh_vectors<1>(in + at, stride, weights, taps, border + at, out + at);
  weigh_plain(in + at, stride, weights, taps, border + at, lanes - at, out + at);
}
#endif

Weigh choose_weigh() {
#ifdef __x86_64__
  if (__builtin_cpu_supports("avx2")) return weigh_avx2;
#endif
  return weigh_plain;
}

const Weigh weigh = choose_weigh();

// What a canvas of the border's colour alone becomes: [outputs, 3].
std::vector<uint8_t> resampled_border(const Table& table, const std::array<uint8_t, 3>& border) {
  std::vector<uint8_t> out(table.taps.size() * 3);
  for (size_t i = 0; i < table.taps.size(); ++i) {
    const Taps& taps = table.taps[i];
    weigh(border.data(), 0, table.weights.data() + taps.weights, taps, border.data(), 3, out.data() + 3 * i);
  }
  return out;
}

// Rows, `stride` bytes apart, whose first pixel stands for the image's pixel table.begin, to
// [height, outputs, 3]. The canvas beside row y has the colour at border[y * border_step].
// kRows rows are turned so that their values lie side by side, which makes it the loop that columns have.
std::vector<uint8_t> resample_rows(const uint8_t* pixels, int64_t stride, int64_t height, const Table& table,
                                   const uint8_t* border, int64_t border_step) {
  constexpr int64_t kPixel = 3 * kRows;
  const auto count = static_cast<int64_t>(table.taps.size());
  const int64_t width = table.end - table.begin;
  std::vector<uint8_t> out(static_cast<size_t>(height * count * 3));
  std::vector<uint8_t> turned(static_cast<size_t>(width * kPixel)), sums(static_cast<size_t>(count * kPixel));
  std::array<uint8_t, kPixel> borders{};
  for (int64_t y = 0; y < height; y += kRows) {
    const int64_t rows = std::min(kRows, height - y);
    turn(pixels + y * stride, stride, rows, width * 3, turned.data(), kRows);
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < 3; ++c) borders[static_cast<size_t>(c * kRows + r)] = border[(y + r) * border_step + c];
    }
    for (int64_t x = 0; x < count; ++x) {
      const Taps& taps = table.taps[static_cast<size_t>(x)];
      weigh(turned.data() + (taps.first - table.begin) * kPixel, kPixel, table.weights.data() + taps.weights, taps,
            borders.data(), kPixel, sums.data() + x * kPixel);
    }
    turn(sums.data(), kRows, count * 3, rows, out.data() + y * count * 3, count * 3);
  }
  return out;
}

// Rows of `width` values, the first of which stands for the image's row table.begin; `border` is a row.
void resample_columns(const uint8_t* pixels, int64_t stride, int64_t width, const Table& table, const uint8_t* border,
                      uint8_t* out, int64_t out_stride) {
  for (size_t y = 0; y < table.taps.size(); ++y) {
    const Taps& taps = table.taps[y];
    weigh(pixels + (taps.first - table.begin) * stride, stride, table.weights.data() + taps.weights, taps, border,
          width, out + static_cast<int64_t>(y) * out_stride);
  }
}

}  // namespace

std::vector<uint8_t> resample(const uint8_t* pixels, const Axis& across, const Axis& down, Filter filter,
                              const std::array<uint8_t, 3>& border) {
  const Table columns = make_table(across, filter), rows = make_table(down, filter);
  const int64_t stride = across.size * 3;
  const uint8_t* corner = pixels + rows.begin * stride + columns.begin * 3;
  // Pillow 13 takes columns first where they shrink much more (older ones never did, or only above 100 : 1).
  const int64_t shorter = down.canvas - down.resized, narrower = across.canvas - across.resized;
  if (shorter > 0 && shorter > 2 * narrower) {
    const int64_t width = (columns.end - columns.begin) * 3;
    std::vector<uint8_t> between(static_cast<size_t>(down.count * width)), border_row(static_cast<size_t>(width));
    for (size_t i = 0; i < border_row.size(); ++i) border_row[i] = border[i % 3];
    resample_columns(corner, stride, width, rows, border_row.data(), between.data(), width);
    return resample_rows(between.data(), width, down.count, columns, resampled_border(rows, border).data(), 3);
  }
  const int64_t width = across.count * 3;
  const std::vector<uint8_t> between =
      resample_rows(corner, stride, rows.end - rows.begin, columns, border.data(), 0);
  std::vector<uint8_t> out(static_cast<size_t>(down.count * width));
  resample_columns(between.data(), width, width, rows, resampled_border(columns, border).data(), out.data(), width);
  return out;
}

}  // namespace mose::vision
