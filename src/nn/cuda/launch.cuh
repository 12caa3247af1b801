// What every kernel is made of: starting it, reading and writing up to 16 bytes at once, sums over a block.
#pragma once

#include <cmath>
#include <cstdint>
#include <cstring>
#include <initializer_list>
#include <type_traits>

#include "nn/cuda/kernels.h"

#if defined(__CUDACC__)
#include <cstdio>
#include <string>

#include "mose/core/error.h"

namespace mose::nn::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, Stream stream, Arguments... arguments) {
  if (blocks == 0) return;
  kernel<<<static_cast<unsigned>(blocks), static_cast<unsigned>(threads), 0, static_cast<cudaStream_t>(stream)>>>(
      arguments...);
  const cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) throw Error(std::string("CUDA kernel: ") + cudaGetErrorString(error));
}

// Ends the work of the device: the host learns of it at its next wait.
#define MOSE_REFUSE(...) \
  do {                   \
    printf(__VA_ARGS__); \
    __trap();            \
  } while (false)

}  // namespace mose::nn::cuda
#else
#include "support/cuda_on_cpu.h"  // tests run the kernels on the CPU
#endif

namespace mose::nn::cuda {

constexpr int kThreads = 256;
constexpr int kWarp = 32;
constexpr int kWarps = kThreads / kWarp;
constexpr unsigned kAllLanes = 0xffffffffu;

__device__ inline float to_float(float x) {
  return x;
}
__device__ inline float to_float(uint16_t bits) {
  const uint32_t wide = static_cast<uint32_t>(bits) << 16;
  float x;
  memcpy(&x, &wide, sizeof(x));
  return x;
}

template <class T>
__device__ T from_float(float x);
template <>
__device__ inline float from_float<float>(float x) {
  return x;
}
// To the nearest, ties to even; NaN stays NaN.
template <>
__device__ inline uint16_t from_float<uint16_t>(float x) {
  uint32_t u;
  memcpy(&u, &x, sizeof(u));
  if (x != x) return 0x7fc0;
  return static_cast<uint16_t>((u + 0x7fffu + ((u >> 16) & 1u)) >> 16);
}

template <int N, class T>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Pack {
  T v[N];
};

// N elements from an address that is a multiple of theirs, or of 16 bytes.
template <int N, class T>
__device__ inline void load(const T* p, float (&values)[N]) {
  const Pack<N, T> pack = *reinterpret_cast<const Pack<N, T>*>(p);
  for (int i = 0; i < N; ++i) values[i] = to_float(pack.v[i]);
}
template <int N, class T>
__device__ inline void store(T* p, const float (&values)[N]) {
  Pack<N, T> pack;
  for (int i = 0; i < N; ++i) pack.v[i] = from_float<T>(values[i]);
  *reinterpret_cast<Pack<N, T>*>(p) = pack;
}

// body(N as a type) with N elements of 16 bytes where all lengths are multiples of N and all addresses of 16, else N
// = 1.
template <class T, class Body>
void with_packs(std::initializer_list<int64_t> lengths, std::initializer_list<const void*> addresses,
                const Body& body) {
  constexpr int kWhole = 16 / static_cast<int>(sizeof(T));
  bool whole = true;
  for (const int64_t length : lengths) whole = whole && length % kWhole == 0;
  for (const void* address : addresses) whole = whole && reinterpret_cast<uintptr_t>(address) % 16 == 0;
  if (whole)
    body(std::integral_constant<int, kWhole>());
  else
    body(std::integral_constant<int, 1>());
}

__device__ inline float warp_sum(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) value += __shfl_xor_sync(kAllLanes, value, distance);
  return value;
}

__device__ inline float warp_max(float value) {
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value = fmaxf(value, __shfl_xor_sync(kAllLanes, value, distance));
  }
  return value;
}

// The warps' sums one after the other, the same in every thread. All threads of the block must come here.
__device__ inline float block_sum(float value) {
  __shared__ float parts[kWarp];
  const int warps = static_cast<int>(blockDim.x) / kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  value = warp_sum(value);
  __syncthreads();  // the last call's parts have been read
  if (threadIdx.x % kWarp == 0) parts[warp] = value;
  __syncthreads();
  float total = 0;
  for (int i = 0; i < warps; ++i) total += parts[i];
  return total;
}

// The largest of all values, which are not NaN.
__device__ inline float block_max(float value) {
  __shared__ float parts[kWarp];
  const int warps = static_cast<int>(blockDim.x) / kWarp, warp = static_cast<int>(threadIdx.x) / kWarp;
  value = warp_max(value);
  __syncthreads();
  if (threadIdx.x % kWarp == 0) parts[warp] = value;
  __syncthreads();
  float most = parts[0];
  for (int i = 1; i < warps; ++i) most = fmaxf(most, parts[i]);
  return most;
}

}  // namespace mose::nn::cuda
