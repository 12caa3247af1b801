// The counting sort in three steps: each block counts its choices by expert, one block adds up the counts before each,
// and each block places its choices in their order.
#include "moe/cuda/kernels.h"
#include "nn/cuda/launch.cuh"

namespace mose::moe::cuda {
namespace {

using nn::cuda::kAllLanes;
using nn::cuda::kThreads;
using nn::cuda::kWarp;
using nn::cuda::kWarps;

static_assert(kPlaceBlock == kThreads, "a thread a choice");

// counts[e, block]: adding whole numbers gives the same in every order.
__global__ void count_choices(const int64_t* chosen, int* counts, int64_t choices, int experts) {
  __shared__ int count[kMostExperts];
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kThreads) count[e] = 0;
  __syncthreads();
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kPlaceBlock + threadIdx.x;
  if (i < choices) {
    const int64_t e = chosen[i];
    if (e < 0 || e >= experts) {
      MOSE_REFUSE("moe dispatch: choice %lld is expert %lld: expected 0 to %d\n", static_cast<long long>(i),
                  static_cast<long long>(e), experts - 1);
    }
    atomicAdd(&count[e], 1);
  }
  __syncthreads();
  for (int e = static_cast<int>(threadIdx.x); e < experts; e += kThreads)
    counts[static_cast<int64_t>(e) * gridDim.x + blockIdx.x] = count[e];
}

// One block. Replaces counts by the expert's choices in the blocks before; writes where each expert's rows end.
__global__ void add_up_counts(int* counts, int* ends, int blocks, int experts) {
  __shared__ int total[kMostExperts];
  const int lane = static_cast<int>(threadIdx.x) % kWarp;
  for (int e = static_cast<int>(threadIdx.x) / kWarp; e < experts; e += kWarps) {  // a warp an expert
    int* own = counts + static_cast<int64_t>(e) * blocks;
    int before = 0;
    for (int first = 0; first < blocks; first += kWarp) {
      const int b = first + lane, count = b < blocks ? own[b] : 0;
      int sum = count;  // of lanes 0 to this one
      for (int distance = 1; distance < kWarp; distance *= 2) {
        const int other = __shfl_up_sync(kAllLanes, sum, static_cast<unsigned>(distance));
        if (lane >= distance) sum += other;
      }
      if (b < blocks) own[b] = before + sum - count;
      before += __shfl_sync(kAllLanes, sum, kWarp - 1);
    }
    if (lane == 0) total[e] = before;
  }
  __syncthreads();
  if (threadIdx.x != 0) return;
  int end = 0;
  for (int e = 0; e < experts; ++e) ends[e] = end += total[e];
}

__global__ void place_choices(const int64_t* chosen, const int* before, const int* ends, int64_t* row, int64_t* token,
                              int64_t choices, int k) {
  __shared__ int expert[kPlaceBlock];
  const int own = static_cast<int>(threadIdx.x);
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kPlaceBlock + own;
  const int e = i < choices ? static_cast<int>(chosen[i]) : -1;
  expert[own] = e;
  __syncthreads();
  if (e < 0) return;
  int64_t r = (e > 0 ? ends[e - 1] : 0) + before[static_cast<int64_t>(e) * gridDim.x + blockIdx.x];
  for (int other = 0; other < own; ++other) r += expert[other] == e;
  row[i] = r;
  token[r] = i / k;
}

}  // namespace

void place(Stream stream, const int64_t* chosen_TK, int* counts, int64_t* row_TK, int64_t* token_R, int* ends_E,
           int64_t choices, int64_t experts, int64_t k) {
  const int64_t blocks = (choices + kPlaceBlock - 1) / kPlaceBlock;
  nn::cuda::launch(count_choices, blocks, kThreads, stream, chosen_TK, counts, choices, static_cast<int>(experts));
  nn::cuda::launch(add_up_counts, 1, kThreads, stream, counts, ends_E, static_cast<int>(blocks),
                   static_cast<int>(experts));
  nn::cuda::launch(place_choices, blocks, kThreads, stream, chosen_TK, counts, ends_E, row_TK, token_R, choices,
                   static_cast<int>(k));
}

}  // namespace mose::moe::cuda
