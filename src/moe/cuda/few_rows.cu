// Experts on few tokens, bound by reading weights: each row of an expert's matrix is read once, by a warp that multiplies it with all
// tokens of that expert. Nothing is sorted or moved, and no host waits for how many rows an expert has.
#include "moe/cuda/kernels.h"
#include "nn/cuda/launch.cuh"

namespace mose::moe::cuda {
namespace {

using nn::cuda::kWarp;
using nn::cuda::launch;
using nn::cuda::load;
using nn::cuda::warp_sum;
using nn::cuda::with_packs;

constexpr int kFewWarps = 4, kFewThreads = kFewWarps * kWarp;
constexpr int kGroup = 16;  // rows that are multiplied at once

static_assert(kFewChoices == kFewThreads, "a thread a choice");

// The choices sorted by expert, in their order. All threads of the block must come here.
struct Sorted {
  int expert[kFewChoices];  // of each choice
  int choice[kFewChoices];  // by place
};
__device__ inline void sort_choices(const int64_t* chosen, int choices, int experts, Sorted* sorted) {
  const int own = static_cast<int>(threadIdx.x);
  if (own < choices) {
    const int64_t e = chosen[own];
    if (e < 0 || e >= experts) {
      MOSE_REFUSE("moe few rows: choice %d is expert %lld: expected 0 to %d\n", own, static_cast<long long>(e), experts - 1);
    }
    sorted->expert[own] = static_cast<int>(e);
  }
  __syncthreads();
  if (own < choices) {
    const int e = sorted->expert[own];
    int place = 0;
    for (int i = 0; i < choices; ++i) place += sorted->expert[i] < e || (sorted->expert[i] == e && i < own);
    sorted->choice[place] = own;
  }
  __syncthreads();
}

// sums[m][r] = matrix[m] . x[row(r)] for r < count <= R, the same in every lane. Rows from `count` on are computed as the first.
template <class T, int N, int R, int M, class Row>
__device__ void multiply(const T* const (&matrix)[M], int count, int64_t width, const Row& row, float (&sums)[M][R]) {
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  const T* x[R];
  for (int r = 0; r < R; ++r) {
    x[r] = row(r < count ? r : 0);
    for (int m = 0; m < M; ++m) sums[m][r] = 0;
  }
  float w[M][N], v[N];
  for (int64_t d = lane * N; d < width; d += kWarp * N) {
    for (int m = 0; m < M; ++m) load<N>(matrix[m] + d, w[m]);
    for (int r = 0; r < R; ++r) {
      load<N>(x[r] + d, v);
      for (int m = 0; m < M; ++m) {
        for (int n = 0; n < N; ++n) sums[m][r] += w[m][n] * v[n];
      }
    }
  }
  for (int m = 0; m < M; ++m) {
    for (int r = 0; r < R; ++r) sums[m][r] = warp_sum(sums[m][r]);
  }
}

// multiply() with the smallest R that serves, then done(r, sums of row r) in lane 0.
template <class T, int N, int R, int M, class Row, class Done>
__device__ void multiply_group(const T* const (&matrix)[M], int count, int64_t width, const Row& row, const Done& done) {
  if constexpr (R > 1) {
    if (count <= R / 2) return multiply_group<T, N, R / 2, M>(matrix, count, width, row, done);
  }
  float sums[M][R];
  multiply<T, N, R, M>(matrix, count, width, row, sums);
  if (threadIdx.x % kWarp != 0) return;
  for (int r = 0; r < R; ++r) {
    if (r >= count) break;
    float own[M];
    for (int m = 0; m < M; ++m) own[m] = sums[m][r];
    done(r, own);
  }
}

// A block kFewWarps hidden units of an expert.
template <class T, int N>
__global__ void hidden_units(const T* x, const T* gate_up, const int64_t* chosen, T* hidden, int choices, int k, int experts, int64_t width,
                             int64_t intermediate, int blocks) {
  __shared__ Sorted sorted;
  sort_choices(chosen, choices, experts, &sorted);
  const int e = static_cast<int>(blockIdx.x) / blocks;
  const int64_t unit = static_cast<int64_t>(static_cast<int>(blockIdx.x) % blocks) * kFewWarps + threadIdx.x / kWarp;
  if (unit >= intermediate) return;
  int begin = 0, end = 0;
  while (begin < choices && sorted.expert[sorted.choice[begin]] < e) ++begin;
  for (end = begin; end < choices && sorted.expert[sorted.choice[end]] == e;) ++end;
  const T* gate = gate_up + (static_cast<int64_t>(e) * 2 * intermediate + unit) * width;
  const T* const matrix[2] = {gate, gate + intermediate * width};
  for (; begin < end; begin += kGroup) {
    const int* own = sorted.choice + begin;
    multiply_group<T, N, kGroup, 2>(
        matrix, end - begin < kGroup ? end - begin : kGroup, width, [&](int r) { return x + own[r] / k * width; },
        [&](int r, const float (&sums)[2]) {
          const float h[1] = {sums[0] / (1.0f + expf(-sums[0])) * sums[1]};
          nn::cuda::store<1>(hidden + own[r] * intermediate + unit, h);
        });
  }
}

// A block kFewWarps columns of the output, of all tokens.
template <class T, int N>
__global__ void weighted_outputs(const T* hidden, const T* down, const int64_t* chosen, const float* weights, T* out, int choices, int k,
                                 int experts, int64_t width, int64_t intermediate) {
  __shared__ Sorted sorted;
  __shared__ float products[kFewWarps][kFewChoices];  // by choice
  sort_choices(chosen, choices, experts, &sorted);
  const int warp = static_cast<int>(threadIdx.x) / kWarp;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kFewWarps, column = first + warp;
  for (int begin = 0, end = 0; column < width && begin < choices; begin = end) {
    const int e = sorted.expert[sorted.choice[begin]];
    for (end = begin; end < choices && end < begin + kGroup && sorted.expert[sorted.choice[end]] == e;) ++end;
    const int* own = sorted.choice + begin;
    const T* const matrix[1] = {down + (static_cast<int64_t>(e) * width + column) * intermediate};
    multiply_group<T, N, kGroup, 1>(
        matrix, end - begin, intermediate, [&](int r) { return hidden + own[r] * intermediate; },
        [&](int r, const float (&sums)[1]) { products[warp][own[r]] = sums[0]; });
  }
  __syncthreads();
  // A thread a number: the token's choices in their order.
  for (int i = static_cast<int>(threadIdx.x); i < choices / k * kFewWarps; i += kFewThreads) {
    const int token = i / kFewWarps, w = i % kFewWarps;
    if (first + w >= width) continue;
    float total[1] = {0};
    for (int c = token * k; c < (token + 1) * k; ++c) total[0] += weights[c] * products[w][c];
    nn::cuda::store<1>(out + token * width + first + w, total);
  }
}

}  // namespace

template <class T>
void few_rows(Stream stream, const T* x_TD, const T* gate_up_EFD, const T* down_EDF, const int64_t* chosen_TK, const float* weights_TK,
              T* hidden_CF, T* out_TD, int64_t tokens, int64_t k, int64_t experts, int64_t width, int64_t intermediate) {
  const int choices = static_cast<int>(tokens * k), blocks = static_cast<int>((intermediate + kFewWarps - 1) / kFewWarps);
  with_packs<T>({width}, {x_TD, gate_up_EFD}, [&](auto n) {
    launch(hidden_units<T, n.value>, choices > 0 ? experts * blocks : 0, kFewThreads, stream, x_TD, gate_up_EFD, chosen_TK, hidden_CF, choices,
           static_cast<int>(k), static_cast<int>(experts), width, intermediate, blocks);
  });
  with_packs<T>({intermediate}, {hidden_CF, down_EDF}, [&](auto n) {
    launch(weighted_outputs<T, n.value>, choices > 0 ? (width + kFewWarps - 1) / kFewWarps : 0, kFewThreads, stream, hidden_CF, down_EDF, chosen_TK,
           weights_TK, out_TD, choices, static_cast<int>(k), static_cast<int>(experts), width, intermediate);
  });
}

#define MOSE_INSTANTIATE(T)                                                                                                                \
  template void few_rows(Stream, const T*, const T*, const T*, const int64_t*, const float*, T*, T*, int64_t, int64_t, int64_t, int64_t, \
                         int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::moe::cuda
