// No row is sorted. Where a running sum over the tokens by falling logit passes a number is found by their logits' bits, eleven at a
// time: the sums of all tokens that agree in the bits so far, by their next bits.
#include "infer/cuda/kernels.h"

#include "nn/cuda/launch.cuh"

namespace mose::infer::cuda {
namespace {

using nn::cuda::kAllLanes;
using nn::cuda::kWarp;
using nn::cuda::launch;
using nn::cuda::to_float;

using Mass = unsigned long long;

constexpr int kBlock = 512;
constexpr int kBits = 11, kBins = 1 << kBits;

// Larger for larger values; NaN is the least, and both zeros are one.
__device__ inline uint32_t ordered(float x) {
  if (x != x) return 0;
  x += 0.0f;
  uint32_t bits;
  memcpy(&bits, &x, sizeof(bits));
  return bits >> 31 ? ~bits : bits | 0x80000000u;
}

struct Item {
  uint32_t key;
  Mass amount;
};
struct Place {
  uint32_t key;  // at which the sum over falling keys passes the target
  Mass before;   // the sum over all larger keys
};

// All threads of the block must come here; `bins` and `found` are shared. The target is below the whole sum.
template <class Of>
__device__ Place find(int64_t classes, Mass target, Mass* bins, Place* found, const Of& item) {
  uint32_t prefix = 0, mask = 0;
  Mass before = 0;
  for (int shift = 32 - kBits;; shift = shift > kBits ? shift - kBits : 0) {
    const uint32_t fresh = ~mask >> shift << shift;  // the bits that are looked at now
    for (int b = static_cast<int>(threadIdx.x); b < kBins; b += kBlock) bins[b] = 0;
    __syncthreads();
    for (int64_t i = threadIdx.x; i < classes; i += kBlock) {
      const Item one = item(i);
      if (one.amount > 0 && (one.key & mask) == prefix) atomicAdd(&bins[(one.key & fresh) >> shift], one.amount);
    }
    __syncthreads();
    if (threadIdx.x < kWarp) {  // lane 0 has the largest keys
      constexpr int kShare = kBins / kWarp;
      const int lane = static_cast<int>(threadIdx.x), top = kBins - 1 - lane * kShare;
      Mass own = 0;
      for (int b = 0; b < kShare; ++b) own += bins[top - b];
      Mass sum = own;
      for (int distance = 1; distance < kWarp; distance *= 2) {
        const Mass other = __shfl_up_sync(kAllLanes, sum, static_cast<unsigned>(distance));
        if (lane >= distance) sum += other;
      }
      Mass at = before + sum - own;
      if (at <= target && target < at + own) {
        int b = top;
        while (at + bins[b] <= target) at += bins[b--];
        found->key = prefix | static_cast<uint32_t>(b) << shift;
        found->before = at;
      }
    }
    __syncthreads();
    prefix = found->key;
    before = found->before;
    mask |= fresh;
    if (shift == 0) break;
  }
  return {prefix, before};
}

// A block a row.
template <class T>
__global__ void sample_rows(const T* logits_NV, const double* uniform, double temperature, int64_t top_k, double top_p, int64_t* chosen,
                            int64_t classes) {
  __shared__ Mass bins[kBins];
  __shared__ Place found;
  __shared__ Mass whole;
  const T* logits = logits_NV + blockIdx.x * classes;
  float most = -INFINITY;
  for (int64_t i = threadIdx.x; i < classes; i += kBlock) {
    const float x = to_float(logits[i]);
    if (x > most) most = x;
  }
  const double top = nn::cuda::block_max(most);
  const auto mass = [&](float x) -> Mass {
    const double weight = exp((static_cast<double>(x) - top) / temperature);
    return weight > 0 ? static_cast<Mass>(llrint(weight * kMassUnit)) : 0;  // 0 for NaN
  };
  const auto by_mass = [&](int64_t i) {
    const float x = to_float(logits[i]);
    return Item{ordered(x), mass(x)};
  };
  const auto value_of = [](uint32_t key) {
    const uint32_t bits = key >> 31 ? key & 0x7fffffffu : ~key;
    float x;
    memcpy(&x, &bits, sizeof(x));
    return x;
  };

  if (threadIdx.x == 0) whole = 0;
  __syncthreads();
  const bool cut = top_k > 0 && top_k < classes;
  uint32_t last = 0;
  Mass equals = 0;  // tokens of the key `last` that are kept
  if (cut) {
    const Place at = find(classes, static_cast<Mass>(top_k - 1), bins, &found, [&](int64_t i) { return Item{ordered(to_float(logits[i])), 1}; });
    last = at.key;
    equals = static_cast<Mass>(top_k) - at.before;
  }
  Mass own = 0;
  for (int64_t i = threadIdx.x; i < classes; i += kBlock) {
    const Item one = by_mass(i);
    if (!cut || one.key > last) own += one.amount;
  }
  atomicAdd(&whole, own);
  __syncthreads();
  Mass kept = whole + (cut ? equals * mass(value_of(last)) : 0);
  if (kept == 0) {
    if (threadIdx.x == 0) chosen[blockIdx.x] = -1;
    return;
  }
  if (top_p < 1) {  // up to the token with which the mass is reached
    const double need = ceil(top_p * static_cast<double>(kept));
    const Mass target = need < 1 ? 0 : need < static_cast<double>(kept) ? static_cast<Mass>(need) - 1 : kept - 1;
    const Place at = find(classes, target, bins, &found, by_mass);
    const Mass weight = mass(value_of(at.key));
    kept = at.before + ((target - at.before) / weight + 1) * weight;
  }
  const Mass draw = static_cast<Mass>(uniform[blockIdx.x] * static_cast<double>(kept)), target = draw < kept ? draw : kept - 1;
  const Place at = find(classes, target, bins, &found, by_mass);
  // Of the tokens with this logit, which all weigh the same, by rising index.
  const Mass turn = (target - at.before) / mass(value_of(at.key));
  const Place token = find(classes, turn, bins, &found, [&](int64_t i) {
    return Item{~static_cast<uint32_t>(i), ordered(to_float(logits[i])) == at.key ? Mass{1} : Mass{0}};
  });
  if (threadIdx.x == 0) chosen[blockIdx.x] = static_cast<int64_t>(~token.key);
}

template <class T>
__global__ void argmax_rows(const T* logits_NV, int64_t* chosen, int64_t classes) {
  __shared__ float values[kBlock];
  __shared__ int64_t indices[kBlock];
  const T* logits = logits_NV + blockIdx.x * classes;
  // Whether (x, i) goes before (y, j).
  const auto before = [](float x, int64_t i, float y, int64_t j) {
    if (x != x || y != y) return x != x && (y == y || i < j);
    return x > y || (x == y && i < j);
  };
  float best = -INFINITY;
  int64_t index = classes;
  for (int64_t i = threadIdx.x; i < classes; i += kBlock) {
    const float x = to_float(logits[i]);
    if (before(x, i, best, index)) {
      best = x;
      index = i;
    }
  }
  const int own = static_cast<int>(threadIdx.x);
  values[own] = best;
  indices[own] = index;
  for (int half = kBlock / 2; half > 0; half /= 2) {
    __syncthreads();
    if (own < half && before(values[own + half], indices[own + half], values[own], indices[own])) {
      values[own] = values[own + half];
      indices[own] = indices[own + half];
    }
  }
  if (own == 0) chosen[blockIdx.x] = indices[0];
}

}  // namespace

template <class T>
void argmax(Stream stream, const T* logits_NV, int64_t* chosen_N, int64_t rows, int64_t classes) {
  launch(argmax_rows<T>, rows, kBlock, stream, logits_NV, chosen_N, classes);
}

template <class T>
void sample(Stream stream, const T* logits_NV, const double* uniform_N, double temperature, int64_t top_k, double top_p, int64_t* chosen_N,
            int64_t rows, int64_t classes) {
  launch(sample_rows<T>, rows, kBlock, stream, logits_NV, uniform_N, temperature, top_k, top_p, chosen_N, classes);
}

#define MOSE_INSTANTIATE(T)                                              \
  template void argmax(Stream, const T*, int64_t*, int64_t, int64_t);    \
  template void sample(Stream, const T*, const double*, double, int64_t, double, int64_t*, int64_t, int64_t);
MOSE_INSTANTIATE(float)
MOSE_INSTANTIATE(uint16_t)
#undef MOSE_INSTANTIATE

}  // namespace mose::infer::cuda
