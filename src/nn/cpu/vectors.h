// What the loops of kernels.h are made of: 16 numbers at a time, for the instruction set that the including file is compiled
// for. Nothing but builtin functions and what is written here may be called: a library's inline function compiled for
// AVX-512 could be the one that the linker keeps for everybody.
#pragma once

#include <cstdint>

namespace {

constexpr int64_t kLanes = 16;
typedef float V __attribute__((vector_size(4 * kLanes)));
typedef int32_t I __attribute__((vector_size(4 * kLanes)));
typedef uint32_t U __attribute__((vector_size(4 * kLanes)));
typedef uint16_t H __attribute__((vector_size(2 * kLanes)));
typedef int16_t S __attribute__((vector_size(2 * kLanes)));
typedef int8_t B __attribute__((vector_size(kLanes)));

inline V zero() { return V{}; }

inline V load(const float* p) {
  V v;
  __builtin_memcpy(&v, p, sizeof(v));
  return v;
}
inline void store(float* p, V v) { __builtin_memcpy(p, &v, sizeof(v)); }

inline V load(const uint16_t* p) {
  H h;
  __builtin_memcpy(&h, p, sizeof(h));
  return (V)(__builtin_convertvector(h, U) << 16);
}
// To the nearest, ties to even; NaN stays NaN.
inline void store(uint16_t* p, V v) {
  const U u = (U)v;
  const U rounded = (u + 0x7fffu + ((u >> 16) & 1u)) >> 16;
  const I number = v == v;  // all bits set where true
  const H h = __builtin_convertvector((rounded & (U)number) | (0x7fc0u & ~(U)number), H);
  __builtin_memcpy(p, &h, sizeof(h));
}

inline V load(const int8_t* p) {
  B b;
  __builtin_memcpy(&b, p, sizeof(b));
  // By doubling: GCC 12 takes a step by four apart into single numbers.
  return __builtin_convertvector(__builtin_convertvector(__builtin_convertvector(b, S), I), V);
}

inline float one(const float* p) { return *p; }
inline float one(const uint16_t* p) {
  const uint32_t u = static_cast<uint32_t>(*p) << 16;
  float value;
  __builtin_memcpy(&value, &u, sizeof(value));
  return value;
}

// The first n of a vector, the others 0.
template <class T>
inline V load_part(const T* p, int64_t n) {
  T part[kLanes] = {};
  for (int64_t i = 0; i < n; ++i) part[i] = p[i];
  return load(part);
}
template <class T>
inline void store_part(T* p, V v, int64_t n) {
  T part[kLanes];
  store(part, v);
  for (int64_t i = 0; i < n; ++i) p[i] = part[i];
}

// body(first element, load, store) over a row, a vector at a time.
template <class Body>
inline __attribute__((always_inline)) void for_vectors(int64_t width, const Body& body) {
  int64_t d = 0;
  const auto whole_load = [](const auto* p) __attribute__((always_inline)) { return load(p); };
  const auto whole_store = [](auto* p, V v) __attribute__((always_inline)) { store(p, v); };
  for (; d + kLanes <= width; d += kLanes) body(d, whole_load, whole_store);
  if (d == width) return;
  const int64_t n = width - d;
  body(d, [n](const auto* p) { return load_part(p, n); }, [n](auto* p, V v) { store_part(p, v, n); });
}

// By halves.
inline float sum(V v) {
  float part[kLanes];
  __builtin_memcpy(part, &v, sizeof(v));
  typedef float V8 __attribute__((vector_size(32)));
  typedef float V4 __attribute__((vector_size(16)));
  V8 a, b;
  __builtin_memcpy(&a, part, sizeof(a));
  __builtin_memcpy(&b, part + 8, sizeof(b));
  a += b;
  V4 c, d;
  __builtin_memcpy(&c, &a, sizeof(c));
  __builtin_memcpy(&d, reinterpret_cast<const char*>(&a) + sizeof(c), sizeof(d));
  c += d;
  return (c[0] + c[2]) + (c[1] + c[3]);
}

inline V choose(I which, V yes, V no) { return (V)((which & (I)yes) | (~which & (I)no)); }

// e^x to about 2 units of the last place; x is cut to [-87, 88], NaN stays NaN. x = n ln 2 + r, |r| <= ln 2 / 2, e^r by its
// series (the sixth power's remainder is below 2e-8), n put into the exponent.
inline V exponential(V x) {
  x = choose(x < -87.0f, zero() - 87.0f, x);
  x = choose(x > 88.0f, zero() + 88.0f, x);
  constexpr float kShift = 12582912.0f;  // 1.5 * 2^23: adding it rounds to an integer, held in the lowest bits
  const V shifted = x * 1.44269504088896f + kShift;
  const V n = shifted - kShift;
  const V r = (x - n * 0.693145751953125f) - n * 1.42860682030941723e-6f;
  V p = zero() + 1.0f / 5040;
  p = p * r + 1.0f / 720;
  p = p * r + 1.0f / 120;
  p = p * r + 1.0f / 24;
  p = p * r + 1.0f / 6;
  p = p * r + 0.5f;
  p = p * r + 1.0f;
  p = p * r + 1.0f;
  return p * (V)(((I)shifted - (I)(zero() + kShift) + 127) << 23);
}

inline V sigmoid(V x) { return 1.0f / (1.0f + exponential(-x)); }

}  // namespace
