// Few rows against much memory: products with a weight, and single new rows against a cache of keys and values. Whatever is
// large is read once from its first byte to its last, and unpacked without moving numbers between lanes.
#pragma once

#include "nn/cpu/vectors.h"

namespace {

inline void put_one(float* p, float value) { *p = value; }
inline void put_one(uint16_t* p, float value) {
  uint32_t u;
  __builtin_memcpy(&u, &value, sizeof(u));
  *p = value == value ? static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16) : uint16_t{0x7fc0};
}

// A vector of 32-bit words holds kParts<W> numbers a lane. unpack() gives the first ones of all words, then the second ones
// and so on, each times kUnpacked<W>.
template <class W>
constexpr int kParts = static_cast<int>(sizeof(float) / sizeof(W));
template <class W>
constexpr float kUnpacked = sizeof(W) == 1 ? 16777216.0f : 1.0f;

inline void unpack(const float* p, V (&out)[1]) { out[0] = load(p); }
inline void unpack(const uint16_t* p, V (&out)[2]) {
  U words;
  __builtin_memcpy(&words, p, sizeof(words));
  out[0] = (V)(words << 16);
  out[1] = (V)(words & 0xffff0000u);
}
inline void unpack(const int8_t* p, V (&out)[4]) {
  U words;
  __builtin_memcpy(&words, p, sizeof(words));
  out[0] = __builtin_convertvector((I)(words << 24), V);
  out[1] = __builtin_convertvector((I)((words << 16) & 0xff000000u), V);
  out[2] = __builtin_convertvector((I)((words << 8) & 0xff000000u), V);
  out[3] = __builtin_convertvector((I)(words & 0xff000000u), V);
}

// Rows as unpacked weights of type W meet them: float32, every whole group of 16 words' numbers in unpack's order, the rest as it is.
template <class W, class T>
void arrange(const T* x, float* out, int64_t rows, int64_t width) {
  constexpr int64_t parts = kParts<W>, group = parts * kLanes;
  const int64_t whole = width / group * group;
  for (int64_t n = 0; n < rows; ++n) {
    const T* row = x + n * width;
    float* to = out + n * width;
    for (int64_t d = 0; d < whole; d += group) {
      for (int64_t part = 0; part < parts; ++part) {
        for (int64_t lane = 0; lane < kLanes; ++lane) to[d + part * kLanes + lane] = one(row + d + lane * parts + part);
      }
    }
    for (int64_t d = whole; d < width; ++d) to[d] = one(row + d);
  }
}

// By how many bytes reading runs ahead of what the CPU foresees itself: it does not look past a page.
constexpr int64_t kAhead = 2048;

// sums[n] = sum_d x[n, d] w[d] of kRows arranged rows. One row of the weight at a time: two at once halve the loads of x, and
// were read at half the speed.
template <int kRows, class W>
inline __attribute__((always_inline)) void dot(const float* x, const W* w, int64_t width, float (&sums)[kRows]) {
  constexpr int kChains = kRows == 1 ? 4 : kRows == 2 ? 2 : 1;  // sums that do not wait for each other
  constexpr int64_t kGroup = kParts<W> * kLanes;
  V total[kRows][kChains] = {};
  const auto add = [&](int64_t d, int chain) __attribute__((always_inline)) {
    V parts[kParts<W>];
    __builtin_prefetch(reinterpret_cast<const char*>(w + d) + kAhead);
    unpack(w + d, parts);
#pragma GCC unroll 4
    for (int p = 0; p < kParts<W>; ++p) {
#pragma GCC unroll 4
      for (int n = 0; n < kRows; ++n) total[n][(chain + p) % kChains] += parts[p] * load(x + n * width + d + p * kLanes);
    }
  };
  int64_t d = 0;
  for (; d + 4 * kGroup <= width; d += 4 * kGroup) {
#pragma GCC unroll 4
    for (int i = 0; i < 4; ++i) add(d + i * kGroup, i * kParts<W>);
  }
  for (; d + kGroup <= width; d += kGroup) add(d, 0);
  for (; d < width; d += kLanes) {
    const int64_t n = width - d < kLanes ? width - d : kLanes;
    const V rest = load_part(w + d, n) * kUnpacked<W>;
    for (int r = 0; r < kRows; ++r) total[r][0] += rest * load_part(x + r * width + d, n);
  }
  for (int n = 0; n < kRows; ++n) {
    V all = total[n][0];
    for (int c = 1; c < kChains; ++c) all += total[n][c];
    sums[n] = sum(all) * (1 / kUnpacked<W>);
  }
}

inline float row_scale(const float*, int64_t) { return 1; }
inline float row_scale(const uint16_t*, int64_t) { return 1; }
inline float row_scale(const int8_t* row, int64_t width) {
  float scale;
  __builtin_memcpy(&scale, row + width, sizeof(scale));
  return scale;
}

template <int kRows, class W, class Y>
inline void multiply_block(const float* x, const W* weight, int64_t stride, Y* y, int64_t y_width, int64_t begin, int64_t end, int64_t width) {
  for (int64_t o = begin; o < end; ++o) {
    const W* w = weight + o * stride;
    float sums[kRows];
    dot<kRows>(x, w, width, sums);
    for (int n = 0; n < kRows; ++n) put_one(y + n * y_width + o, sums[n] * row_scale(w, width));
  }
}

// body.operator()<rows>(first row, first output, last output) for 4 rows of x at a time, and what is left of them. Weights that 4 rows
// have met are still near when the next 4 come.
template <class Body>
inline __attribute__((always_inline)) void for_row_blocks(int64_t rows, int64_t begin, int64_t end, const Body& body) {
  constexpr int64_t kBlock = 8;
  for (int64_t o = begin; o < end; o += rows <= 4 ? end - begin : kBlock) {
    const int64_t last = rows <= 4 || o + kBlock > end ? end : o + kBlock;
    int64_t n = 0;
    for (; n + 4 <= rows; n += 4) body.template operator()<4>(n, o, last);
    if (rows - n == 1) body.template operator()<1>(n, o, last);
    if (rows - n == 2) body.template operator()<2>(n, o, last);
    if (rows - n == 3) body.template operator()<3>(n, o, last);
  }
}

template <class W, class Y>
void multiply_rows(const float* x, int64_t rows, const W* weight, Y* y, int64_t y_width, int64_t begin, int64_t end, int64_t width) {
  const int64_t stride = width + (sizeof(W) == 1 ? static_cast<int64_t>(sizeof(float)) : 0);
  for_row_blocks(rows, begin, end, [&]<int kRows>(int64_t n, int64_t first, int64_t last) {
    multiply_block<kRows>(x + n * width, weight, stride, y + n * y_width, y_width, first, last, width);
  });
}

constexpr int64_t kFewInt8Rows = 16;
inline int64_t own_width(int64_t width) { return width; }

// Up to 4 vectors of a row of values, weighted and added up over all positions.
template <int kVectors, class T>
inline void weigh_values(const float* p, const T* values, T* out, int64_t positions, int64_t width) {
  V total[kVectors] = {};
  for (int64_t s = 0; s < positions; ++s) {
    for (int i = 0; i < kVectors; ++i) total[i] += p[s] * load(values + s * width + i * kLanes);
  }
  for (int i = 0; i < kVectors; ++i) store(out + i * kLanes, total[i]);
}

template <class T>
void attend(const T* q, const T* keys, const T* values, T* out, float* scratch, int64_t group, int64_t positions, int64_t width, float scale) {
  const int64_t room = (positions + kLanes - 1) / kLanes * kLanes;
  float *query = scratch, *weights = scratch + group * width;
  for (int64_t i = 0; i < group * width; ++i) query[i] = one(q + i) * scale;
  for (int64_t s = 0; s < positions; ++s) {
    for (int64_t g = 0; g < group; ++g) {
      V total = zero();
      for_vectors(width, [&](int64_t d, auto get, auto) { total += get(query + g * width + d) * get(keys + s * width + d); });
      weights[g * room + s] = sum(total);
    }
  }
  for (int64_t g = 0; g < group; ++g) {
    float* p = weights + g * room;
    float top = p[0];
    for (int64_t s = 1; s < positions; ++s) top = p[s] > top ? p[s] : top;
    for (int64_t s = positions; s < room; ++s) p[s] = top;
    V total = zero();
    for (int64_t s = 0; s < room; s += kLanes) {
      V e = exponential(load(p + s) - top);
      store(p + s, e);
      total += e;
    }
    const float share = 1 / (sum(total) - static_cast<float>(room - positions));  // e^0 each
    for (int64_t s = 0; s < positions; ++s) p[s] *= share;
    T* to = out + g * width;
    int64_t d = 0;
    for (; d + 4 * kLanes <= width; d += 4 * kLanes) weigh_values<4>(p, values + d, to + d, positions, width);
    for (; d + kLanes <= width; d += kLanes) weigh_values<1>(p, values + d, to + d, positions, width);
    for (; d < width; ++d) {
      float sum_d = 0;
      for (int64_t s = 0; s < positions; ++s) sum_d += p[s] * one(values + s * width + d);
      put_one(to + d, sum_d);
    }
  }
}

}  // namespace
