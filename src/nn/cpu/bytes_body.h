// Rows against weights in 8 bits with instructions that multiply bytes (AVX512-VNNI): a weight is never made a float.
//
// A row of x becomes whole numbers, multiples of its largest |x| / kMost, and these three bytes each:
//
//   x ~ step (2^16 high + 2^8 middle + low),  bytes in [-128, 127]
//
// so that sum_d w[d] x[d] is three sums of products of bytes, exact in 32 bits up to rows of 2^20. An x is off by half a step at
// most: 2^-24 of the largest, the float32 rounding of that one. The instruction takes one factor without sign, which is w + 128;
// sums start at -128 times those of x.
#pragma once

#include <immintrin.h>

#include "nn/cpu/kernels.h"
#include "nn/cpu/rows_body.h"

namespace {

constexpr int64_t kBytes = 64, kPlanes = 3;
constexpr float kMost = 127 << 16;  // its three bytes fit, and those of what rounding adds to it

inline int64_t whole_bytes(int64_t width) { return (width + kBytes - 1) / kBytes * kBytes; }

// A row: the planes of bytes, high first, padded with zeros; the sums' starts, 16 words a plane; 16 words of which the first is the step.
inline int64_t bytes_room(int64_t width) { return (kPlanes * whole_bytes(width) + (kPlanes + 1) * kBytes) / static_cast<int64_t>(sizeof(float)); }

inline __m512i multiply_bytes(__m512i sums, __m512i unsigned_bytes, __m512i bytes) { return _mm512_dpbusd_epi32(sums, unsigned_bytes, bytes); }

inline void store_bytes(int8_t* p, I v) {
  const B bytes = __builtin_convertvector(v, B);
  __builtin_memcpy(p, &bytes, sizeof(bytes));
}

template <class T>
void arrange_bytes(const T* x, float* out, int64_t rows, int64_t width) {
  const int64_t whole = whole_bytes(width);
  const __m512i offset = _mm512_set1_epi8(-128);  // 128 without sign
  for (int64_t n = 0; n < rows; ++n) {
    auto* planes = reinterpret_cast<int8_t*>(out + n * bytes_room(width));
    V sizes = zero();
    for_vectors(width, [&](int64_t d, auto get, auto) __attribute__((always_inline)) {
      const V size = (V)((I)get(x + n * width + d) & 0x7fffffff);
      sizes = choose((size > sizes) | (size != size), size, sizes);  // a NaN stays
    });
    float largest = 0;
    for (int64_t i = 0; i < kLanes; ++i) largest = sizes[i] > largest || sizes[i] != sizes[i] ? sizes[i] : largest;
    const bool finite = largest < __builtin_inff();
    const float scale = finite && largest > 0 ? kMost / largest : 0;
    for (int64_t d = width / kLanes * kLanes; d < whole; d += kLanes) {
      for (int64_t p = 0; p < kPlanes; ++p) store_bytes(planes + p * whole + d, I{});
    }
    for_vectors(finite ? width : 0, [&](int64_t d, auto get, auto) __attribute__((always_inline)) {
      const V value = get(x + n * width + d) * scale;
      const I number = __builtin_convertvector(value + choose(value < 0, zero() - 0.5f, zero() + 0.5f), I);
      const I low = (number << 24) >> 24, rest = (number - low) >> 8, middle = (rest << 24) >> 24;
      store_bytes(planes + d, (rest - middle) >> 8);
      store_bytes(planes + whole + d, middle);
      store_bytes(planes + 2 * whole + d, low);
    });
    for (int64_t p = 0; p < kPlanes; ++p) {
      __m512i start = _mm512_setzero_si512();
      for (int64_t d = 0; d < whole; d += kBytes) start = multiply_bytes(start, offset, _mm512_loadu_si512(planes + p * whole + d));
      _mm512_storeu_si512(planes + kPlanes * whole + p * kBytes, _mm512_sub_epi32(_mm512_setzero_si512(), start));
    }
    const float step = finite ? largest / kMost : __builtin_nanf("");
    __builtin_memcpy(planes + kPlanes * (whole + kBytes), &step, sizeof(step));
  }
}

template <int kRows, class Y>
inline void multiply_byte_block(const float* x, const int8_t* weight, Y* y, int64_t y_width, int64_t begin, int64_t end, int64_t width) {
  const int64_t whole = whole_bytes(width), inside = width / kBytes * kBytes, room = bytes_room(width);
  const __m512i flip = _mm512_set1_epi8(-128);
  const __mmask64 rest = (uint64_t{1} << (width - inside)) - 1;
  const int8_t* planes[kRows];
  for (int n = 0; n < kRows; ++n) planes[n] = reinterpret_cast<const int8_t*>(x + n * room);
  for (int64_t o = begin; o < end; ++o) {
    const int8_t* w = weight + o * (width + static_cast<int64_t>(sizeof(float)));
    __m512i sums[kRows][kPlanes];
    for (int n = 0; n < kRows; ++n) {
      for (int64_t p = 0; p < kPlanes; ++p) sums[n][p] = _mm512_loadu_si512(planes[n] + kPlanes * whole + p * kBytes);
    }
    const auto add = [&](int64_t d, __m512i bytes) __attribute__((always_inline)) {
      bytes = _mm512_xor_si512(bytes, flip);
      for (int n = 0; n < kRows; ++n) {
        for (int64_t p = 0; p < kPlanes; ++p) sums[n][p] = multiply_bytes(sums[n][p], bytes, _mm512_loadu_si512(planes[n] + p * whole + d));
      }
    };
    for (int64_t d = 0; d < inside; d += kBytes) {
      __builtin_prefetch(w + d + kAhead);
      add(d, _mm512_loadu_si512(w + d));
    }
    if (rest) add(inside, _mm512_maskz_loadu_epi8(rest, w + inside));
    for (int n = 0; n < kRows; ++n) {
      V total = zero();
      for (int64_t p = 0; p < kPlanes; ++p) total = total * 256.0f + __builtin_convertvector((I)sums[n][p], V);
      float step;
      __builtin_memcpy(&step, planes[n] + kPlanes * (whole + kBytes), sizeof(step));
      put_one(y + n * y_width + o, sum(total) * step * row_scale(w, width));
    }
  }
}

// As many rows of x at a time as stay in the second cache.
template <class Y>
void multiply_byte_rows(const float* x, int64_t rows, const int8_t* weight, Y* y, int64_t y_width, int64_t begin, int64_t end, int64_t width) {
  constexpr int64_t kGroup = 64;
  for (int64_t first = 0; first < rows; first += kGroup) {
    for_row_blocks(rows - first < kGroup ? rows - first : kGroup, begin, end, [&]<int kRows>(int64_t n, int64_t o, int64_t last) {
      multiply_byte_block<kRows>(x + (first + n) * bytes_room(width), weight, y + (first + n) * y_width, y_width, o, last, width);
    });
  }
}

template <class T>
constexpr mose::nn::cpu::Kernels<T> with_bytes(mose::nn::cpu::Kernels<T> table) {
  table.most_int8_rows = sizeof(T) == 4 ? INT64_MAX : 128;  // a library multiplies float32 no faster, bfloat16 twice as fast
  table.int8_room = bytes_room;
  table.arrange_int8 = arrange_bytes<T>;
  table.multiply_rows_int8 = multiply_byte_rows<T>;
  return table;
}

}  // namespace
