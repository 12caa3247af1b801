// out = silu(gate) * up with silu(x) = x sigmoid(x), whose derivative is s + x s (1 - s) with s = sigmoid(x).
#include "nn/cuda/launch.cuh"

namespace mose::nn::cuda {
namespace {

__device__ inline float sigmoid(float x) {
  return 1.0f / (1.0f + expf(-x));
}

// A block a row.
template <class T, int N>
__global__ void silu_mul_rows(const T* gate, const T* up, int64_t stride, T* out, int64_t width) {
  const int64_t row = blockIdx.x;
  float g[N], u[N];
  for (int64_t d = threadIdx.x * N; d < width; d += static_cast<int64_t>(blockDim.x) * N) {
    load<N>(gate + row * stride + d, g);
    load<N>(up + row * stride + d, u);
    for (int i = 0; i < N; ++i) g[i] = g[i] * sigmoid(g[i]) * u[i];
    store<N>(out + row * width + d, g);
  }
}

template <class T, int N>
__global__ void silu_mul_rows_backward(const T* grad, const T* gate, const T* up, int64_t stride, T* grad_gate,
                                       T* grad_up, int64_t grad_stride, T* out, int64_t width) {
  const int64_t row = blockIdx.x;
  float dy[N], g[N], u[N], y[N];
  for (int64_t d = threadIdx.x * N; d < width; d += static_cast<int64_t>(blockDim.x) * N) {
    load<N>(grad + row * width + d, dy);
    load<N>(gate + row * stride + d, g);
    load<N>(up + row * stride + d, u);
    for (int i = 0; i < N; ++i) {
      const float s = sigmoid(g[i]), silu = g[i] * s;
      y[i] = silu * u[i];
      g[i] = dy[i] * u[i] * (s + silu * (1.0f - s));
      u[i] = dy[i] * silu;
    }
    store<N>(grad_gate + row * grad_stride + d, g);
    store<N>(grad_up + row * grad_stride + d, u);
    if (out) store<N>(out + row * width + d, y);
  }
}

}  // namespace

template <class T>
void silu_mul(Stream stream, const T* gate, const T* up, int64_t stride, T* out, int64_t rows, int64_t width) {
  with_packs<T>({width, stride}, {gate, up, out}, [&](auto n) {
    launch(silu_mul_rows<T, n.value>, rows, kThreads, stream, gate, up, stride, out, width);
  });
}

template <class T>
void silu_mul_backward(Stream stream, const T* grad, const T* gate, const T* up, int64_t stride, T* grad_gate,
                       T* grad_up, int64_t grad_stride, T* out, int64_t rows, int64_t width) {
  with_packs<T>({width, stride, grad_stride}, {grad, gate, up, grad_gate, grad_up, out}, [&](auto n) {
    launch(silu_mul_rows_backward<T, n.value>, rows, kThreads, stream, grad, gate, up, stride, grad_gate, grad_up,
           grad_stride, out, width);
  });
}

#define MOSE_INSTANTIATE(T)                                                          \
  template void silu_mul(Stream, const T*, const T*, int64_t, T*, int64_t, int64_t); \
  template void silu_mul_backward(Stream, const T*, const T*, const T*, int64_t, T*, T*, int64_t, T*, int64_t, int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::nn::cuda
