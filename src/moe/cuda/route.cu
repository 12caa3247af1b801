#include "moe/cuda/kernels.h"
#include "nn/cuda/launch.cuh"

namespace mose::moe::cuda {
namespace {

using nn::cuda::kAllLanes;
using nn::cuda::kThreads;
using nn::cuda::kWarp;
using nn::cuda::kWarps;
using nn::cuda::warp_max;
using nn::cuda::warp_sum;

static_assert(kMostExperts <= 32 * kWarp, "a lane remembers in one bit each which of its experts are taken");

// p = softmax(v). Lane l has the experts l, l + 32, ...
__device__ inline void softmax_row(const float* v, float* p, int lane, int experts) {
  float most = -INFINITY, sum = 0;
  for (int e = lane; e < experts; e += kWarp) most = fmaxf(most, v[e]);
  most = warp_max(most);
  for (int e = lane; e < experts; e += kWarp) sum += expf(v[e] - most);
  sum = warp_sum(sum);
  for (int e = lane; e < experts; e += kWarp) p[e] = expf(v[e] - most) / sum;
}

// A warp a row.
__global__ void route_rows(const float* values, float* probabilities, int64_t* chosen, float* weights, bool normalise,
                           int64_t tokens, int experts, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (token >= tokens) return;
  const float* v = values + token * experts;
  if (probabilities) {
    softmax_row(v, probabilities + token * experts, lane, experts);
    v = probabilities + token * experts;  // a lane reads only what it wrote
  }
  unsigned taken = 0;
  float total = 0;
  for (int i = 0; i < k; ++i) {
    float most = -INFINITY;
    int best = experts;  // none
    for (int e = lane, bit = 0; e < experts; e += kWarp, ++bit) {
      if (taken >> bit & 1u) continue;
      const float value = v[e] == v[e] ? v[e] : -INFINITY;
      if (value > most || (value == most && e < best)) {
        most = value;
        best = e;
      }
    }
    for (int distance = kWarp / 2; distance > 0; distance /= 2) {
      const float other = __shfl_xor_sync(kAllLanes, most, distance);
      const int e = __shfl_xor_sync(kAllLanes, best, distance);
      if (other > most || (other == most && e < best)) {
        most = other;
        best = e;
      }
    }
    const int owner = best % kWarp;
    if (lane == owner) taken |= 1u << (best / kWarp);
    const float value = __shfl_sync(kAllLanes, lane == owner ? v[best] : 0.0f, owner);
    total += value;
    if (lane != 0) continue;
    chosen[token * k + i] = best;
    if (weights) weights[token * k + i] = value;
  }
  if (!weights || !normalise || lane != 0) return;
  for (int i = 0; i < k; ++i) weights[token * k + i] /= total;
}

// With w_j = p_j / P, P the sum of the chosen p: dp_j = (dw_j - sum_i dw_i w_i) / P. Softmax: dv = p (dp - sum dp p).
__global__ void route_rows_backward(const float* grad_p, const float* grad_weights, const float* p_TE,
                                    const int64_t* chosen_TK, bool softmax, bool normalise, float* grad, int64_t tokens,
                                    int experts, int k) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const int64_t token = static_cast<int64_t>(blockIdx.x) * kWarps + threadIdx.x / kWarp;
  if (token >= tokens) return;
  const float* p = p_TE + token * experts;
  const int64_t* chosen = chosen_TK + token * k;
  const float* dw = grad_weights ? grad_weights + token * k : nullptr;
  float whole = 1, mean = 0;
  if (dw && normalise) {
    whole = 0;
    for (int i = 0; i < k; ++i) whole += p[chosen[i]];
    for (int i = 0; i < k; ++i) mean += dw[i] * p[chosen[i]] / whole;
  }
  float* out = grad + token * experts;
  float dot = 0;
  for (int e = lane; e < experts; e += kWarp) {
    float dp = grad_p ? grad_p[token * experts + e] : 0.0f;
    for (int i = 0; dw && i < k; ++i) {
      if (chosen[i] == e) dp += (dw[i] - mean) / whole;
    }
    dot += dp * p[e];
    out[e] = dp;
  }
  if (!softmax) return;
  dot = warp_sum(dot);
  for (int e = lane; e < experts; e += kWarp) out[e] = p[e] * (out[e] - dot);
}

int64_t blocks_of(int64_t tokens) {
  return (tokens + kWarps - 1) / kWarps;
}

}  // namespace

void route(Stream stream, const float* values_TE, float* probabilities_TE, int64_t* chosen_TK, float* weights_TK,
           bool normalise, int64_t tokens, int64_t experts, int64_t k) {
  nn::cuda::launch(route_rows, blocks_of(tokens), kThreads, stream, values_TE, probabilities_TE, chosen_TK, weights_TK,
                   normalise, tokens, static_cast<int>(experts), static_cast<int>(k));
}

void route_backward(Stream stream, const float* grad_p_TE, const float* grad_weights_TK, const float* p_TE,
                    const int64_t* chosen_TK, bool softmax, bool normalise, float* grad_TE, int64_t tokens,
                    int64_t experts, int64_t k) {
  nn::cuda::launch(route_rows_backward, blocks_of(tokens), kThreads, stream, grad_p_TE, grad_weights_TK, p_TE,
                   chosen_TK, softmax, normalise, grad_TE, tokens, static_cast<int>(experts), static_cast<int>(k));
}

}  // namespace mose::moe::cuda
