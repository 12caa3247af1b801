// loss = log sum_c e^(z_c) - z_target, dz_c = weight (e^(z_c) / sum - [c = target]).
#include <cfloat>

#include "nn/cuda/launch.cuh"

namespace mose::nn::cuda {
namespace {

constexpr int kWideBlock = 512;

// A block a row. The first pass keeps the largest logit so far and the sum relative to it (Milakov and Gimelshein,
// 2018), so that logits are read twice and written once.
template <class T, int N>
__global__ void cross_entropy_rows(T* logits, const int64_t* target, const float* weights, float* losses,
                                   int64_t classes) {
  T* row = logits + blockIdx.x * classes;
  const int64_t wanted = target[blockIdx.x];
  if (wanted < 0 || wanted >= classes) {
    MOSE_REFUSE("vocabulary loss: target %lld of row %lld of a chunk: expected 0 to %lld\n",
                static_cast<long long>(wanted), static_cast<long long>(blockIdx.x),
                static_cast<long long>(classes - 1));
  }
  const float wanted_logit = to_float(row[wanted]);  // before it is overwritten: the sums below wait for all threads
  const int64_t first = threadIdx.x * N, step = static_cast<int64_t>(blockDim.x) * N;
  float v[N], most = -FLT_MAX, sum = 0;
  for (int64_t d = first; d < classes; d += step) {
    load<N>(row + d, v);
    float top = most;
    for (int i = 0; i < N; ++i) top = fmaxf(top, v[i]);
    sum *= expf(most - top);
    most = top;
    for (int i = 0; i < N; ++i) sum += expf(v[i] - top);
  }
  const float top = block_max(most), whole = block_sum(sum * expf(most - top));
  if (threadIdx.x == 0) losses[blockIdx.x] = logf(whole) + top - wanted_logit;
  if (!weights) return;
  const float weight = weights[blockIdx.x], factor = weight / whole;
  for (int64_t d = first; d < classes; d += step) {
    load<N>(row + d, v);
    for (int i = 0; i < N; ++i) v[i] = expf(v[i] - top) * factor - (d + i == wanted ? weight : 0.0f);
    store<N>(row + d, v);
  }
}

}  // namespace

template <class T>
void cross_entropy(Stream stream, T* logits, const int64_t* target, const float* weights, float* losses, int64_t rows,
                   int64_t classes) {
  with_packs<T>({classes}, {logits}, [&](auto n) {
    launch(cross_entropy_rows<T, n.value>, rows, kWideBlock, stream, logits, target, weights, losses, classes);
  });
}

template void cross_entropy(Stream, float*, const int64_t*, const float*, float*, int64_t, int64_t);
template void cross_entropy(Stream, uint16_t*, const int64_t*, const float*, float*, int64_t, int64_t);

}  // namespace mose::nn::cuda
