#include "moe/cuda/kernels.h"
#include "nn/cuda/launch.cuh"

namespace mose::moe::cuda {
namespace {

using nn::cuda::kThreads;
using nn::cuda::kWarp;
using nn::cuda::kWarps;
using nn::cuda::launch;
using nn::cuda::load;
using nn::cuda::Pack;
using nn::cuda::store;
using nn::cuda::with_packs;

// A block a token, which is read once.
template <class T, int N>
__global__ void scatter_token(const T* x, const int64_t* row, T* rows, int k, int64_t width) {
  const int64_t token = blockIdx.x;
  for (int64_t d = threadIdx.x * N; d < width; d += static_cast<int64_t>(blockDim.x) * N) {
    const auto values = *reinterpret_cast<const Pack<N, T>*>(x + token * width + d);
    for (int i = 0; i < k; ++i) *reinterpret_cast<Pack<N, T>*>(rows + row[token * k + i] * width + d) = values;
  }
}

// A block a token; its choices are added in their order.
template <class T, int N>
__global__ void sum_token(const T* rows, const float* weights, const int64_t* row, T* out, int k, int64_t width) {
  const int64_t token = blockIdx.x;
  float v[N];
  for (int64_t d = threadIdx.x * N; d < width; d += static_cast<int64_t>(blockDim.x) * N) {
    float total[N] = {};
    for (int64_t i = token * k; i < (token + 1) * k; ++i) {
      load<N>(rows + row[i] * width + d, v);
      const float weight = weights ? weights[i] : 1.0f;
      for (int n = 0; n < N; ++n) total[n] += v[n] * weight;
    }
    store<N>(out + token * width + d, total);
  }
}

// A warp a choice.
template <class T, int N>
__global__ void sum_choice_backward(const T* grad, const T* rows, const float* weights, const int64_t* row,
                                    T* grad_rows, float* grad_weights, int64_t choices, int k, int64_t width) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (i >= choices) return;
  const T *g = grad + i / k * width, *in = rows + row[i] * width;
  T* to = grad_rows + row[i] * width;
  const float weight = weights[i];
  float dy[N], v[N], dot = 0;
  for (int64_t d = lane * N; d < width; d += kWarp * N) {
    load<N>(g + d, dy);
    load<N>(in + d, v);
    for (int n = 0; n < N; ++n) {
      dot += dy[n] * v[n];
      dy[n] *= weight;
    }
    store<N>(to + d, dy);
  }
  dot = nn::cuda::warp_sum(dot);
  if (lane == 0) grad_weights[i] = dot;
}

}  // namespace

template <class T>
void scatter_rows(Stream stream, const T* x_TD, const int64_t* row_TK, T* rows_RD, int64_t tokens, int64_t k,
                  int64_t width) {
  with_packs<T>({width}, {x_TD, rows_RD}, [&](auto n) {
    launch(scatter_token<T, n.value>, tokens, kThreads, stream, x_TD, row_TK, rows_RD, static_cast<int>(k), width);
  });
}

template <class T>
void weighted_sum(Stream stream, const T* rows_RD, const float* weights_TK, const int64_t* row_TK, T* out_TD,
                  int64_t tokens, int64_t k, int64_t width) {
  with_packs<T>({width}, {rows_RD, out_TD}, [&](auto n) {
    launch(sum_token<T, n.value>, tokens, kThreads, stream, rows_RD, weights_TK, row_TK, out_TD, static_cast<int>(k),
           width);
  });
}

template <class T>
void weighted_sum_backward(Stream stream, const T* grad_TD, const T* rows_RD, const float* weights_TK,
                           const int64_t* row_TK, T* grad_rows_RD, float* grad_weights_TK, int64_t tokens, int64_t k,
                           int64_t width) {
  with_packs<T>({width}, {grad_TD, rows_RD, grad_rows_RD}, [&](auto n) {
    launch(sum_choice_backward<T, n.value>, (tokens * k + kWarps - 1) / kWarps, kThreads, stream, grad_TD, rows_RD,
           weights_TK, row_TK, grad_rows_RD, grad_weights_TK, tokens * k, static_cast<int>(k), width);
  });
}

#define MOSE_INSTANTIATE(T)                                                                                          \
  template void scatter_rows(Stream, const T*, const int64_t*, T*, int64_t, int64_t, int64_t);                       \
  template void weighted_sum(Stream, const T*, const float*, const int64_t*, T*, int64_t, int64_t, int64_t);         \
  template void weighted_sum_backward(Stream, const T*, const T*, const float*, const int64_t*, T*, float*, int64_t, \
                                      int64_t, int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::moe::cuda
