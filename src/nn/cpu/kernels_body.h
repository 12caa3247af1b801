// The loops of kernels.h, for the instruction set that the including file is compiled for. Nothing but builtin
// functions and what is written here may be called: a library's inline function compiled for AVX-512 could be the one
// that the linker keeps for everybody.
#include "nn/cpu/kernels.h"

namespace {

using mose::nn::cpu::Kernels;

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

template <class T>
void rms_norm(const T* x, const T* weight, T* y, float* scale, int64_t begin, int64_t end, int64_t width, float eps) {
  for (int64_t r = begin; r < end; ++r) {
    const T* row = x + r * width;
    T* out = y + r * width;
    V squares = zero();
    for_vectors(width, [&](int64_t d, auto get, auto) {
      const V v = get(row + d);
      squares += v * v;
    });
    const float s = 1.0f / __builtin_sqrtf(sum(squares) / static_cast<float>(width) + eps);
    scale[r] = s;
    for_vectors(width, [&](int64_t d, auto get, auto put) { put(out + d, get(row + d) * s * get(weight + d)); });
  }
}

// y = x s w: with c = mean(dy w x) s^2, dx = s (dy w - x c), dw = dy x s.
template <class T>
void rms_norm_backward(const T* grad, const T* x, const T* weight, const float* scale, T* dx, float* grad_weight, int64_t begin,
                       int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; ++r) {
    const T *g = grad + r * width, *row = x + r * width;
    T* out = dx + r * width;
    const float s = scale[r];
    V products = zero();
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      const V gx = get(g + d) * get(row + d);
      products += gx * get(weight + d);
      put(grad_weight + d, get(grad_weight + d) + gx * s);
    });
    const float c = sum(products) / static_cast<float>(width) * s * s;
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      put(out + d, s * (get(g + d) * get(weight + d) - get(row + d) * c));
    });
  }
}

template <class T>
void silu_mul(const T* gate, const T* up, int64_t stride, T* out, int64_t begin, int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; ++r) {
    const T *g = gate + r * stride, *u = up + r * stride;
    T* y = out + r * width;
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      const V v = get(g + d);
      put(y + d, v * sigmoid(v) * get(u + d));
    });
  }
}

template <class T>
void silu_mul_backward(const T* grad, const T* gate, const T* up, int64_t stride, T* grad_gate, T* grad_up, int64_t grad_stride,
                       T* out, int64_t begin, int64_t end, int64_t width) {
  for (int64_t r = begin; r < end; ++r) {
    const T *dy = grad + r * width, *g = gate + r * stride, *u = up + r * stride;
    T *dg = grad_gate + r * grad_stride, *du = grad_up + r * grad_stride;
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      const V v = get(g + d), s = sigmoid(v), silu = v * s, dv = get(dy + d), w = get(u + d);
      put(du + d, dv * silu);
      put(dg + d, dv * w * (s + silu * (1.0f - s)));
      if (out) put(out + r * width + d, silu * w);
    });
  }
}

template <class T>
void rotate(const T* x, int64_t stride, const float* cos, const float* sin, float sign, T* out, int64_t begin, int64_t end,
            int64_t heads, int64_t head_width, int64_t half) {
  for (int64_t t = begin; t < end; ++t) {
    const float *c = cos + t * half, *s = sin + t * half;
    for (int64_t h = 0; h < heads; ++h) {
      const T* in = x + t * stride + h * head_width;
      T* y = out + (t * heads + h) * head_width;
      for_vectors(half, [&](int64_t d, auto get, auto put) {
        const V a = get(in + d), b = get(in + half + d), cosine = get(c + d), sine = get(s + d) * sign;
        put(y + d, a * cosine - b * sine);
        put(y + half + d, b * cosine + a * sine);
      });
      for (int64_t d = 2 * half; d < head_width; ++d) y[d] = in[d];
    }
  }
}

inline void put_one(float* p, float value) { *p = value; }
inline void put_one(uint16_t* p, float value) { store_part(p, zero() + value, 1); }

// kOut rows of the weight against one row of x: x is read once for all, and their sums do not wait for each other.
template <int kOut, class T>
inline void dot_rows(const T* x, const T* weight, T* y, int64_t width) {
  V total[kOut] = {};
  for_vectors(width, [&](int64_t d, auto get, auto) {
    const V v = get(x + d);
    for (int o = 0; o < kOut; ++o) total[o] += v * get(weight + o * width + d);
  });
  for (int o = 0; o < kOut; ++o) put_one(y + o, sum(total[o]));
}

template <class T>
void multiply_rows(const T* x, int64_t rows, const T* weight, T* y, int64_t y_width, int64_t begin, int64_t end, int64_t width) {
  int64_t o = begin;
  for (; o + 4 <= end; o += 4) {
    for (int64_t n = 0; n < rows; ++n) dot_rows<4>(x + n * width, weight + o * width, y + n * y_width + o, width);
  }
  for (; o < end; ++o) {
    for (int64_t n = 0; n < rows; ++n) dot_rows<1>(x + n * width, weight + o * width, y + n * y_width + o, width);
  }
}

template <int kOut, class T>
inline void dot_rows_int8(const T* x, const int8_t* weight, T* y, int64_t width) {
  const int64_t stride = width + static_cast<int64_t>(sizeof(float));
  V total[kOut] = {};
  for_vectors(width, [&](int64_t d, auto get, auto) {
    const V v = get(x + d);
    for (int o = 0; o < kOut; ++o) total[o] += v * get(weight + o * stride + d);
  });
  for (int o = 0; o < kOut; ++o) {
    float scale;
    __builtin_memcpy(&scale, weight + o * stride + width, sizeof(scale));
    put_one(y + o, sum(total[o]) * scale);
  }
}

template <class T>
void multiply_rows_int8(const T* x, int64_t rows, const int8_t* weight, T* y, int64_t y_width, int64_t begin, int64_t end,
                        int64_t width) {
  const int64_t stride = width + static_cast<int64_t>(sizeof(float));
  int64_t o = begin;
  for (; o + 4 <= end; o += 4) {
    for (int64_t n = 0; n < rows; ++n) dot_rows_int8<4>(x + n * width, weight + o * stride, y + n * y_width + o, width);
  }
  for (; o < end; ++o) {
    for (int64_t n = 0; n < rows; ++n) dot_rows_int8<1>(x + n * width, weight + o * stride, y + n * y_width + o, width);
  }
}

template <class T>
void weighted_sum(const T* rows, const float* weights, const int64_t* row, T* out, int64_t begin, int64_t end, int64_t k,
                  int64_t width) {
  for (int64_t t = begin; t < end; ++t) {
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      V total = zero();
      for (int64_t i = t * k; i < (t + 1) * k; ++i) {
        const V v = get(rows + row[i] * width + d);
        total += weights ? v * weights[i] : v;
      }
      put(out + t * width + d, total);
    });
  }
}

template <class T>
void weighted_sum_backward(const T* grad, const T* rows, const float* weights, const int64_t* row, T* grad_rows,
                           float* grad_weights, int64_t begin, int64_t end, int64_t k, int64_t width) {
  for (int64_t i = begin * k; i < end * k; ++i) {
    const T *g = grad + i / k * width, *in = rows + row[i] * width;
    T* to = grad_rows + row[i] * width;
    const float weight = weights[i];
    V dot = zero();
    for_vectors(width, [&](int64_t d, auto get, auto put) {
      const V v = get(g + d);
      dot += v * get(in + d);
      put(to + d, v * weight);
    });
    grad_weights[i] = sum(dot);
  }
}

void cross_entropy_rows(float* logits, const int64_t* target, const float* weights, float* losses, int64_t begin, int64_t end,
                   int64_t classes) {
  for (int64_t r = begin; r < end; ++r) {
    float* row = logits + r * classes;
    const float wanted = row[target[r]];
    float top = wanted;
    {
      V largest = zero() + wanted;
      int64_t c = 0;
      for (; c + kLanes <= classes; c += kLanes) {
        const V v = load(row + c);
        largest = choose(v > largest, v, largest);
      }
      for (int64_t i = 0; i < kLanes; ++i) top = largest[i] > top ? largest[i] : top;
      for (; c < classes; ++c) top = row[c] > top ? row[c] : top;
    }
    V total = zero();
    float rest = 0;
    int64_t c = 0;
    for (; c + kLanes <= classes; c += kLanes) {
      const V e = exponential(load(row + c) - top);
      total += e;
      if (weights) store(row + c, e);
    }
    for (; c < classes; ++c) {
      const float e = exponential(zero() + (row[c] - top))[0];
      rest += e;
      if (weights) row[c] = e;
    }
    const float whole = sum(total) + rest;
    losses[r] = __builtin_logf(whole) + top - wanted;
    if (!weights) continue;
    const float factor = weights[r] / whole;
    for_vectors(classes, [&](int64_t d, auto get, auto put) { put(row + d, get(row + d) * factor); });
    row[target[r]] -= weights[r];
  }
}

template <class T>
constexpr Kernels<T> table() {
  return {rms_norm<T>, rms_norm_backward<T>, silu_mul<T>, silu_mul_backward<T>, rotate<T>, multiply_rows<T>, multiply_rows_int8<T>, weighted_sum<T>,
          weighted_sum_backward<T>};
}

}  // namespace
