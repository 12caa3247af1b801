// The GPU's kernels of routing and dispatch, over raw memory of the current device: src/moe/dispatch_cpu.cpp's, and a
// router's softmax and choice in one. Sums are float32 in a fixed order and places come from scans, so that repeated
// calls are bitwise equal. T is float, or uint16_t for the bits of a bfloat16.
#pragma once

#include <cstdint>

#include "nn/cuda/kernels.h"

namespace mose::moe::cuda {

using nn::cuda::Stream;

constexpr int64_t kMostExperts = 1024;  // of one layer
constexpr int64_t kPlaceBlock = 256;    // choices that one block counts and places
constexpr int64_t kFewTokens = 16, kFewChoices = 128;  // of few_rows, at most

// The k largest values of each row, largest first, the lower index first among equals; NaN comes last. With
// `probabilities`, these are written, softmax(values), and chosen from instead. With `weights`, the chosen values,
// divided by their sum where `normalise`.
void route(Stream stream, const float* values_TE, float* probabilities_TE, int64_t* chosen_TK, float* weights_TK,
           bool normalise, int64_t tokens, int64_t experts, int64_t k);
// The gradient of values from those of probabilities (null: none) and weights (null: none). `p_TE` are the
// probabilities, or the values where there was no softmax.
void route_backward(Stream stream, const float* grad_p_TE, const float* grad_weights_TK, const float* p_TE,
                    const int64_t* chosen_TK, bool softmax, bool normalise, float* grad_TE, int64_t tokens,
                    int64_t experts, int64_t k);

// A stable counting sort of the choices by expert. row_TK: the sorted row of each choice; token_R: the token of each
// row; ends_E: where the rows of each expert end. `counts` is scratch, [experts, ceil(choices / kPlaceBlock)]. A choice
// outside [0, experts) ends the work of the device with a message.
void place(Stream stream, const int64_t* chosen_TK, int* counts, int64_t* row_TK, int64_t* token_R, int* ends_E,
           int64_t choices, int64_t experts, int64_t k);

// rows[row[t, k]] = x[t]
template <class T>
void scatter_rows(Stream stream, const T* x_TD, const int64_t* row_TK, T* rows_RD, int64_t tokens, int64_t k,
                  int64_t width);
// out[t] = sum_k weights[t, k] * rows[row[t, k]]; null weights count 1.
template <class T>
void weighted_sum(Stream stream, const T* rows_RD, const float* weights_TK, const int64_t* row_TK, T* out_TD,
                  int64_t tokens, int64_t k, int64_t width);
// grad_rows[row[t, k]] = weights[t, k] * grad[t] and grad_weights[t, k] = grad[t] . rows[row[t, k]].
template <class T>
void weighted_sum_backward(Stream stream, const T* grad_TD, const T* rows_RD, const float* weights_TK,
                           const int64_t* row_TK, T* grad_rows_RD, float* grad_weights_TK, int64_t tokens, int64_t k,
                           int64_t width);

// SwiGLU experts on a few tokens: out[t] = sum_k weights[t, k] expert_e(x[t]), e = chosen[t, k], by rising k. gate_up [E, 2F, D], down
// [E, D, F]; `hidden` is scratch, [tokens * k, F]. A choice outside [0, experts) ends the work of the device with a message.
template <class T>
void few_rows(Stream stream, const T* x_TD, const T* gate_up_EFD, const T* down_EDF, const int64_t* chosen_TK, const float* weights_TK,
              T* hidden_CF, T* out_TD, int64_t tokens, int64_t k, int64_t experts, int64_t width, int64_t intermediate);

}  // namespace mose::moe::cuda
