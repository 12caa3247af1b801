// The GPU's kernels of sampling, over raw memory of the current device: the choices of src/infer/sampling.cpp. Masses of probability
// are whole numbers, whose sums are the same in every order. T is float, or uint16_t for the bits of a bfloat16.
#pragma once

#include <cstdint>

#include "nn/cuda/kernels.h"

namespace mose::infer::cuda {

using nn::cuda::Stream;

constexpr double kMassUnit = 1099511627776.0;  // 2^40: the mass of the most probable token

// The largest of each row, the lower index first among equals; NaN counts as the largest, as in at::argmax.
template <class T>
void argmax(Stream stream, const T* logits_NV, int64_t* chosen_N, int64_t rows, int64_t classes);

// A draw from each row's softmax(logits / temperature), cut to the top_k (0 = all) and then to the most probable tokens that
// hold the mass top_p, by its number of uniform_N in [0, 1). -1 where no token has a mass (NaN). Fewer than 2^20 classes.
template <class T>
void sample(Stream stream, const T* logits_NV, const double* uniform_N, double temperature, int64_t top_k, double top_p, int64_t* chosen_N,
            int64_t rows, int64_t classes);

}  // namespace mose::infer::cuda
