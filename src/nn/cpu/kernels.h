// The CPU's inner loops, over raw memory and ranges of rows, so that callers choose the threads. One source
// (kernels_body.h) is compiled for several instruction sets and the best that the machine has is taken when the
// program starts. Sums are float32 in a fixed order: repeated calls are bitwise equal.
#pragma once

#include <cstdint>

namespace mose::nn::cpu {

// One element type's kernels. T is float, or the bits of a bfloat16.
template <class T>
struct Kernels {
  // y = x * scale * weight with scale = 1 / sqrt(mean(x^2) + eps), which is written for each row unless null.
  void (*rms_norm)(const T* x, const T* weight, T* y, float* scale, int64_t begin, int64_t end, int64_t width, float eps);
  // Writes dx; adds the rows' part of the weight's gradient to grad_weight [width].
  void (*rms_norm_backward)(const T* grad, const T* x, const T* weight, const float* scale, T* dx, float* grad_weight,
                            int64_t begin, int64_t end, int64_t width);
  // out[r] = silu(gate[r]) * up[r]; rows of gate and up are `stride` apart.
  void (*silu_mul)(const T* gate, const T* up, int64_t stride, T* out, int64_t begin, int64_t end, int64_t width);
  // The gradients of gate and up, rows `stride` apart as gate's and up's are; `out` unless null as silu_mul has it.
  void (*silu_mul_backward)(const T* grad, const T* gate, const T* up, int64_t stride, T* grad_gate, T* grad_up,
                            int64_t grad_stride, T* out, int64_t begin, int64_t end, int64_t width);
  // Turns the first 2 * half of every head by the row's angles (sin times `sign`), the rest is copied. Rows of x are
  // `stride` apart, its heads one behind the other.
  void (*rotate)(const T* x, int64_t stride, const float* cos, const float* sin, float sign, T* out, int64_t begin, int64_t end,
                 int64_t heads, int64_t head_width, int64_t half);
  // Rows of x as multiply_rows takes them: float32, in the order that suits weights of type T.
  void (*arrange)(const T* x, float* out, int64_t rows, int64_t width);
  // y[n, o] = sum_d x[n, d] * weight[o, d] for o in [begin, end), for few rows n; rows of y are y_width long.
  void (*multiply_rows)(const float* x, int64_t rows, const T* weight, T* y, int64_t y_width, int64_t begin, int64_t end, int64_t width);
  void (*multiply_rows_float)(const float* x, int64_t rows, const T* weight, float* y, int64_t y_width, int64_t begin, int64_t end, int64_t width);
  // The same of weights in 8 bits: rows of `width` numbers and then a float, which multiplies them (mose/nn/int8.h). An arranged
  // row is int8_room(width) floats long.
  int64_t most_int8_rows;  // more are multiplied faster by a library, after unpacking the weights
  int64_t (*int8_room)(int64_t width);
  void (*arrange_int8)(const T* x, float* out, int64_t rows, int64_t width);
  void (*multiply_rows_int8)(const float* x, int64_t rows, const int8_t* weight, T* y, int64_t y_width, int64_t begin, int64_t end, int64_t width);
  // out[h] = sum_s softmax_s(scale * q[h] . keys[s]) values[s] for the `group` query heads of one head of keys, all of `width`
  // numbers; scratch holds group * (width + positions + 16) of them.
  void (*attend)(const T* q, const T* keys, const T* values, T* out, float* scratch, int64_t group, int64_t positions, int64_t width,
                 float scale);
  // out[t] = sum_k weights[t, k] * rows[row[t, k]]; null weights count 1.
  void (*weighted_sum)(const T* rows, const float* weights, const int64_t* row, T* out, int64_t begin, int64_t end, int64_t k,
                       int64_t width);
  // For each choice i of tokens [begin, end): grad_rows[row[i]] = weights[i] * grad[i / k] and
  // grad_weights[i] = grad[i / k] . rows[row[i]].
  void (*weighted_sum_backward)(const T* grad, const T* rows, const float* weights, const int64_t* row, T* grad_rows,
                                float* grad_weights, int64_t begin, int64_t end, int64_t k, int64_t width);
  // losses[r] = logsumexp(logits[r]) - logits[r, target[r]]; with weights, logits become weights[r] times the loss's gradient.
  void (*cross_entropy)(T* logits, const int64_t* target, const float* weights, float* losses, int64_t begin, int64_t end,
                        int64_t classes);
};

template <class T>
const Kernels<T>& kernels();

}  // namespace mose::nn::cpu
