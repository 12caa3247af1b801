// (a, b) -> (a cos - b sin, b cos + a sin) for pairs `half` apart in a head.
#include "nn/cuda/launch.cuh"

namespace mose::nn::cuda {
namespace {

// A block a row; a thread turns N pairs, or copies N elements behind the turning part.
template <class T, int N>
__global__ void rotate_rows(const T* x, int64_t stride, const float* cos, const float* sin, float sign, T* out,
                            int heads, int head_width, int half) {
  const int64_t row = blockIdx.x;
  const int pieces = (head_width - half) / N;  // a head's
  float a[N], b[N], c[N], s[N];
  for (int piece = static_cast<int>(threadIdx.x); piece < heads * pieces; piece += static_cast<int>(blockDim.x)) {
    const int head = piece / pieces, d = piece % pieces * N;
    const T* in = x + row * stride + head * head_width;
    T* to = out + (row * heads + head) * head_width;
    if (d >= half) {
      load<N>(in + half + d, a);
      store<N>(to + half + d, a);
      continue;
    }
    load<N>(in + d, a);
    load<N>(in + half + d, b);
    load<N>(cos + row * half + d, c);
    load<N>(sin + row * half + d, s);
    for (int i = 0; i < N; ++i) {
      const float first = a[i], second = b[i], sine = s[i] * sign;
      a[i] = first * c[i] - second * sine;
      b[i] = second * c[i] + first * sine;
    }
    store<N>(to + d, a);
    store<N>(to + half + d, b);
  }
}

}  // namespace

template <class T>
void rotate(Stream stream, const T* x, int64_t stride, const float* cos, const float* sin, float sign, T* out,
            int64_t rows, int64_t heads, int64_t head_width, int64_t half) {
  with_packs<T>({stride, head_width, half}, {x, cos, sin, out}, [&](auto n) {
    launch(rotate_rows<T, n.value>, rows, kThreads, stream, x, stride, cos, sin, sign, out, static_cast<int>(heads),
           static_cast<int>(head_width), static_cast<int>(half));
  });
}

template void rotate(Stream, const float*, int64_t, const float*, const float*, float, float*, int64_t, int64_t,
                     int64_t, int64_t);
template void rotate(Stream, const uint16_t*, int64_t, const float*, const float*, float, uint16_t*, int64_t, int64_t,
                     int64_t, int64_t);

}  // namespace mose::nn::cuda
