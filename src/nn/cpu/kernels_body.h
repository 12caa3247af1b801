// The loops of kernels.h over many rows, made of vectors.h; those of few rows are in rows_body.h.
#include "nn/cpu/kernels.h"
#include "nn/cpu/rows_body.h"
#include "nn/cpu/vectors.h"

namespace {

using mose::nn::cpu::Kernels;

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
    if (scale) scale[r] = s;
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

// float32 keeps the exponentials where the logits were; a shorter type computes them again, which rounds a gradient once.
template <class T>
void cross_entropy(T* logits, const int64_t* target, const float* weights, float* losses, int64_t begin, int64_t end, int64_t classes) {
  const bool keep = weights && sizeof(T) == sizeof(float);
  for (int64_t r = begin; r < end; ++r) {
    T* row = logits + r * classes;
    const float wanted = one(row + target[r]);
    float top = wanted;
    {
      V largest = zero() + wanted;
      int64_t c = 0;
      for (; c + kLanes <= classes; c += kLanes) {
        const V v = load(row + c);
        largest = choose(v > largest, v, largest);
      }
      for (int64_t i = 0; i < kLanes; ++i) top = largest[i] > top ? largest[i] : top;
      for (; c < classes; ++c) top = one(row + c) > top ? one(row + c) : top;
    }
    V total = zero();
    float rest = 0;
    int64_t c = 0;
    for (; c + kLanes <= classes; c += kLanes) {
      const V e = exponential(load(row + c) - top);
      total += e;
      if (keep) store(row + c, e);
    }
    for (; c < classes; ++c) {
      const float e = exponential(zero() + (one(row + c) - top))[0];
      rest += e;
      if (keep) put_one(row + c, e);
    }
    const float whole = sum(total) + rest;
    losses[r] = __builtin_logf(whole) + top - wanted;
    if (!weights) continue;
    const float factor = weights[r] / whole;
    for_vectors(classes, [&](int64_t d, auto get, auto put) {
      const V v = get(row + d);
      put(row + d, (keep ? v : exponential(v - top)) * factor);
    });
    put_one(row + target[r], exponential(zero() + (wanted - top))[0] * factor - weights[r]);
  }
}

template <class T>
constexpr Kernels<T> table() {
  return {rms_norm<T>, rms_norm_backward<T>, silu_mul<T>, silu_mul_backward<T>, rotate<T>, arrange<T, T>, multiply_rows<T, T>,
          multiply_rows<T, float>, kFewInt8Rows, own_width, arrange<int8_t, T>, multiply_rows<int8_t, T>, attend<T>, weighted_sum<T>, weighted_sum_backward<T>,
          cross_entropy<T>};
}

}  // namespace
