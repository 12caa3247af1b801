// The GPU's kernels, over raw memory of the current device: src/nn/cpu's, row by row as there. Sums are float32 in a
// fixed order, no float is added atomically: repeated calls are bitwise equal. T is float, or uint16_t for the bits of
// a bfloat16.
#pragma once

#include <cstdint>

namespace mose::nn::cuda {

using Stream = void*;  // a cudaStream_t

constexpr int64_t kWidestNorm = 8192;  // of rms_norm_backward
constexpr int64_t kWidestHead = 256;    // of attend_rows
constexpr int64_t kAttentionChunk = 64;  // positions of one part of attend_rows
constexpr int64_t kNormRows = 16;      // rows whose part of a norm's weight gradient is one partial sum

// y = x * scale * weight with scale = 1 / sqrt(mean(x^2) + eps), which is written for each row.
template <class T>
void rms_norm(Stream stream, const T* x, const T* weight, T* y, float* scale, int64_t rows, int64_t width, float eps);
// Writes dx, and unless null the weight's gradient in parts [ceil(rows / kNormRows), width].
template <class T>
void rms_norm_backward(Stream stream, const T* grad, const T* x, const T* weight, const float* scale, T* dx,
                       float* parts, int64_t rows, int64_t width);

// out[r] = silu(gate[r]) * up[r]; rows of gate and up are `stride` apart.
template <class T>
void silu_mul(Stream stream, const T* gate, const T* up, int64_t stride, T* out, int64_t rows, int64_t width);
// The gradients of gate and up, rows `grad_stride` apart; `out` unless null as silu_mul has it.
template <class T>
void silu_mul_backward(Stream stream, const T* grad, const T* gate, const T* up, int64_t stride, T* grad_gate,
                       T* grad_up, int64_t grad_stride, T* out, int64_t rows, int64_t width);

// Turns the first 2 * half of every head by the row's angles (sin times `sign`), the rest is copied. Rows of x are
// `stride` apart, its heads one behind the other.
template <class T>
void rotate(Stream stream, const T* x, int64_t stride, const float* cos, const float* sin, float sign, T* out,
            int64_t rows, int64_t heads, int64_t head_width, int64_t half);

// losses[r] = logsumexp(logits[r]) - logits[r, target[r]]; unless weights is null, logits become weights[r] times the
// loss's gradient. A target outside [0, classes) ends the work of the device with a message (MOSE_REFUSE).
template <class T>
void cross_entropy(Stream stream, T* logits, const int64_t* target, const float* weights, float* losses, int64_t rows,
                   int64_t classes);

// A cache of keys and values, [places, kv_heads, capacity, width] each, and one row a sequence: row n is that at position ends[n] of place
// places[n]. store_rows writes its key and value there; a position outside the capacity ends the work of the device with a message.
template <class T>
void store_rows(Stream stream, const T* k_NKd, const T* v_NKd, const int64_t* places_N, const int64_t* ends_N, T* keys, T* values, int64_t rows,
                int64_t kv_heads, int64_t capacity, int64_t width);
// softmax(q . keys / sqrt(width)) values over the positions up to ends[n], of these the last `window` where that is > 0. Every end is below
// chunks * kAttentionChunk; `parts` is scratch, [rows, heads, chunks, width + 2].
template <class T>
void attend_rows(Stream stream, const T* q_NHd, const T* keys, const T* values, const int64_t* places_N, const int64_t* ends_N, float* parts,
                 T* out_NHd, int64_t rows, int64_t heads, int64_t kv_heads, int64_t capacity, int64_t width, int64_t window, int64_t chunks);

}  // namespace mose::nn::cuda
