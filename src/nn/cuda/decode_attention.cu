// Attention of single rows over a cache (split-KV, as in flash decoding): each block takes kAttentionChunk positions of one head of keys and
// leaves their largest score m, the sum l of e^(score - m) and that of e^(score - m) value; these are put together by rising position.
#include <cfloat>

#include "nn/cuda/launch.cuh"

namespace mose::nn::cuda {
namespace {

constexpr int kPieces = 4;  // elements that are read at once where they lie so

// The positions that a row at position `end` sees.
struct Span {
  int64_t begin, end;
};
__device__ inline Span seen(int64_t end, int64_t window) {
  return {window > 0 && end + 1 > window ? end + 1 - window : 0, end + 1};
}

template <class T>
__global__ void store_row(const T* k, const T* v, const int64_t* places, const int64_t* ends, T* keys, T* values, int heads, int64_t capacity,
                          int width) {
  const int64_t n = blockIdx.x, end = ends[n];
  if (end < 0 || end >= capacity) {
    MOSE_REFUSE("KV cache: position %lld of a sequence: expected 0 to %lld\n", static_cast<long long>(end), static_cast<long long>(capacity - 1));
  }
  for (int i = static_cast<int>(threadIdx.x); i < heads * width; i += kThreads) {
    const int64_t to = ((places[n] * heads + i / width) * capacity + end) * width + i % width;
    keys[to] = k[n * heads * width + i];
    values[to] = v[n * heads * width + i];
  }
}

template <class T, int N>
__global__ void attend_chunk(const T* q, const T* keys, const T* values, const int64_t* places, const int64_t* ends, float* parts, int heads,
                             int kv_heads, int chunks, int64_t capacity, int width, int64_t window, float scale) {
  __shared__ float query[kWidestHead], score[kAttentionChunk];
  alignas(16) __shared__ float sums[kThreads * N];
  const int chunk = static_cast<int>(blockIdx.x) % chunks, pair = static_cast<int>(blockIdx.x) / chunks;
  const int64_t n = pair / kv_heads, kv = pair % kv_heads;
  const Span span = seen(ends[n], window);
  const int64_t from = chunk * kAttentionChunk, to = from + kAttentionChunk;
  const int64_t begin = from > span.begin ? from : span.begin, end = to < span.end ? to : span.end;
  if (begin >= end) return;
  const int count = static_cast<int>(end - begin), own = static_cast<int>(threadIdx.x), lane = own % kWarp;
  const int64_t first = ((places[n] * kv_heads + kv) * capacity + begin) * width;
  const int pieces = width / N, slices = kThreads / pieces, slice = own / pieces, column = own % pieces * N;
  float w[N], x[N];
  for (int g = 0; g < heads / kv_heads; ++g) {
    const int64_t row = n * heads + kv * (heads / kv_heads) + g;
    for (int d = own; d < width; d += kThreads) query[d] = to_float(q[row * width + d]) * scale;
    __syncthreads();
    for (int i = own / kWarp; i < count; i += kWarps) {
      float dot = 0;
      for (int d = lane * N; d < width; d += kWarp * N) {
        load<N>(keys + first + static_cast<int64_t>(i) * width + d, w);
        for (int j = 0; j < N; ++j) dot += w[j] * query[d + j];
      }
      dot = warp_sum(dot);
      if (lane == 0) score[i] = dot;
    }
    __syncthreads();
    const float top = block_max(own < count ? score[own] : -FLT_MAX), weight = own < count ? expf(score[own] - top) : 0.0f, whole = block_sum(weight);
    if (own < count) score[own] = weight;
    __syncthreads();
    if (slice < slices) {
      for (int j = 0; j < N; ++j) x[j] = 0;
      for (int i = slice; i < count; i += slices) {
        load<N>(values + first + static_cast<int64_t>(i) * width + column, w);
        for (int j = 0; j < N; ++j) x[j] += score[i] * w[j];
      }
      for (int j = 0; j < N; ++j) sums[slice * width + column + j] = x[j];
    }
    __syncthreads();
    float* part = parts + (row * chunks + chunk) * (width + 2);
    for (int d = own; d < width; d += kThreads) {
      float total = 0;
      for (int s = 0; s < slices; ++s) total += sums[s * width + d];
      part[2 + d] = total;
    }
    if (own == 0) {
      part[0] = top;
      part[1] = whole;
    }
  }
}

// A block a row and head.
template <class T>
__global__ void put_together(const float* parts, const int64_t* ends, T* out, int heads, int chunks, int width, int64_t window) {
  const int64_t row = blockIdx.x;
  const Span span = seen(ends[row / heads], window);
  const float* part = parts + row * chunks * (width + 2);
  const int first = static_cast<int>(span.begin / kAttentionChunk), last = static_cast<int>((span.end - 1) / kAttentionChunk);
  float top = -FLT_MAX, whole = 0;
  for (int c = first; c <= last; ++c) top = fmaxf(top, part[c * (width + 2)]);
  for (int c = first; c <= last; ++c) whole += part[c * (width + 2) + 1] * expf(part[c * (width + 2)] - top);
  for (int d = static_cast<int>(threadIdx.x); d < width; d += kThreads) {
    float total = 0;
    for (int c = first; c <= last; ++c) total += part[c * (width + 2) + 2 + d] * expf(part[c * (width + 2)] - top);
    out[row * width + d] = from_float<T>(total / whole);
  }
}

}  // namespace

template <class T>
void store_rows(Stream stream, const T* k_NKd, const T* v_NKd, const int64_t* places_N, const int64_t* ends_N, T* keys, T* values, int64_t rows,
                int64_t kv_heads, int64_t capacity, int64_t width) {
  launch(store_row<T>, rows, kThreads, stream, k_NKd, v_NKd, places_N, ends_N, keys, values, static_cast<int>(kv_heads), capacity,
         static_cast<int>(width));
}

template <class T>
void attend_rows(Stream stream, const T* q_NHd, const T* keys, const T* values, const int64_t* places_N, const int64_t* ends_N, float* parts,
                 T* out_NHd, int64_t rows, int64_t heads, int64_t kv_heads, int64_t capacity, int64_t width, int64_t window, int64_t chunks) {
  const auto scale = static_cast<float>(1.0 / std::sqrt(static_cast<double>(width)));
  const auto attend = [&](auto n) {
    launch(attend_chunk<T, n.value>, rows * kv_heads * chunks, kThreads, stream, q_NHd, keys, values, places_N, ends_N, parts,
           static_cast<int>(heads), static_cast<int>(kv_heads), static_cast<int>(chunks), capacity, static_cast<int>(width), window, scale);
  };
  const auto whole = [](const void* p) { return reinterpret_cast<uintptr_t>(p) % (kPieces * sizeof(T)) == 0; };
  if (width % kPieces == 0 && whole(keys) && whole(values)) attend(std::integral_constant<int, kPieces>());
  else attend(std::integral_constant<int, 1>());
  launch(put_together<T>, rows * heads, kThreads, stream, parts, ends_N, out_NHd, static_cast<int>(heads), static_cast<int>(chunks),
         static_cast<int>(width), window);
}

#define MOSE_INSTANTIATE(T)                                                                                                                  \
  template void store_rows(Stream, const T*, const T*, const int64_t*, const int64_t*, T*, T*, int64_t, int64_t, int64_t, int64_t);          \
  template void attend_rows(Stream, const T*, const T*, const T*, const int64_t*, const int64_t*, float*, T*, int64_t, int64_t, int64_t,     \
                            int64_t, int64_t, int64_t, int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::nn::cuda
