// y = x s w with s = 1 / sqrt(mean(x^2) + eps); with c = mean(dy w x) s^2, dx = s (dy w - x c), dw = dy x s.
#include "nn/cuda/launch.cuh"

namespace mose::nn::cuda {
namespace {

// A block a row.
template <class T, int N>
__global__ void norm_rows(const T* x, const T* weight, T* y, float* scale, int64_t width, float eps) {
  const T* row = x + blockIdx.x * width;
  T* to = y + blockIdx.x * width;
  const int64_t first = threadIdx.x * N, step = static_cast<int64_t>(blockDim.x) * N;
  float v[N], w[N], squares = 0;
  for (int64_t d = first; d < width; d += step) {
    load<N>(row + d, v);
    for (int i = 0; i < N; ++i) squares += v[i] * v[i];
  }
  const float s = 1.0f / sqrtf(block_sum(squares) / static_cast<float>(width) + eps);
  if (threadIdx.x == 0) scale[blockIdx.x] = s;
  for (int64_t d = first; d < width; d += step) {
    load<N>(row + d, v);
    load<N>(weight + d, w);
    for (int i = 0; i < N; ++i) v[i] = v[i] * s * w[i];
    store<N>(to + d, v);
  }
}

// A block kNormRows rows. Each thread sums the weight's gradient of its own columns, row after row.
template <class T, int N>
__global__ void norm_rows_backward(const T* grad, const T* x, const T* weight, const float* scale, T* dx, float* parts,
                                   int64_t rows, int64_t width) {
  alignas(16) __shared__ float sums[kWidestNorm];
  const int64_t first = threadIdx.x * N, step = static_cast<int64_t>(blockDim.x) * N;
  const int64_t begin = blockIdx.x * kNormRows, end = begin + kNormRows < rows ? begin + kNormRows : rows;
  float g[N], v[N], w[N];
  for (int64_t d = first; d < width; d += step) {
    for (int i = 0; i < N; ++i) sums[d + i] = 0;
  }
  for (int64_t r = begin; r < end; ++r) {
    const float s = scale[r];
    float products = 0;
    for (int64_t d = first; d < width; d += step) {
      load<N>(grad + r * width + d, g);
      load<N>(x + r * width + d, v);
      load<N>(weight + d, w);
      for (int i = 0; i < N; ++i) {
        const float gx = g[i] * v[i];
        products += gx * w[i];
        sums[d + i] += gx * s;
      }
    }
    const float c = block_sum(products) / static_cast<float>(width) * s * s;
    for (int64_t d = first; d < width; d += step) {
      load<N>(grad + r * width + d, g);
      load<N>(x + r * width + d, v);
      load<N>(weight + d, w);
      for (int i = 0; i < N; ++i) v[i] = s * (g[i] * w[i] - v[i] * c);
      store<N>(dx + r * width + d, v);
    }
  }
  if (!parts) return;
  for (int64_t d = first; d < width; d += step) {
    for (int i = 0; i < N; ++i) parts[blockIdx.x * width + d + i] = sums[d + i];
  }
}

}  // namespace

template <class T>
void rms_norm(Stream stream, const T* x, const T* weight, T* y, float* scale, int64_t rows, int64_t width, float eps) {
  with_packs<T>({width}, {x, weight, y}, [&](auto n) {
    launch(norm_rows<T, n.value>, rows, kThreads, stream, x, weight, y, scale, width, eps);
  });
}

template <class T>
void rms_norm_backward(Stream stream, const T* grad, const T* x, const T* weight, const float* scale, T* dx,
                       float* parts, int64_t rows, int64_t width) {
  with_packs<T>({width}, {grad, x, weight, dx}, [&](auto n) {
    launch(norm_rows_backward<T, n.value>, (rows + kNormRows - 1) / kNormRows, kThreads, stream, grad, x, weight, scale,
           dx, parts, rows, width);
  });
}

#define MOSE_INSTANTIATE(T)                                                                \
  template void rms_norm(Stream, const T*, const T*, T*, float*, int64_t, int64_t, float); \
  template void rms_norm_backward(Stream, const T*, const T*, const T*, const float*, T*, float*, int64_t, int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::nn::cuda
