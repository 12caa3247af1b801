#include "nn/cpu/few_rows.h"

#include <cmath>
#include <cstring>

#include "mose/nn/inference.h"
#include "mose/nn/int8.h"
#include "nn/cpu/tensors.h"

namespace mose::nn::cpu {
namespace {

using torch::Tensor;

// Memory of this thread, for one kernel's use at a time.
float* scratch(int64_t numbers) {
  thread_local std::vector<float> memory;
  if (static_cast<int64_t>(memory.size()) < numbers) memory.resize(static_cast<size_t>(numbers));
  return memory.data();
}

template <class T>
const float* arranged(const Kernels<T>& k, const Tensor& x, int64_t rows, int64_t width, int64_t parts) {
  if (x.scalar_type() == torch::kFloat32 && parts == 1) return in<float>(x);
  float* out = scratch(rows * width);
  k.arrange(in<T>(x), out, rows, width, parts);
  return out;
}

}  // namespace

void multiply(const Tensor& x_RD, const Tensor& weight_OD, const Tensor& out_RO) {
  const int64_t rows = x_RD.size(0), width = x_RD.size(1), outputs = weight_OD.size(0);
  const bool packed = is_packed(weight_OD);
  const int64_t parts = 4 / static_cast<int64_t>(weight_OD.element_size());
  with_kernels(x_RD, [&]<class T>(const auto& k, T) {
    const float* x = arranged<T>(k, x_RD, rows, width, parts);
    for_rows(outputs, width, [&](int64_t begin, int64_t end) {
      if (packed) {
        k.multiply_rows_int8(x, rows, in<int8_t>(weight_OD), out<T>(out_RO), outputs, begin, end, width);
      } else if (out_RO.scalar_type() == torch::kFloat32) {
        k.multiply_rows_float(x, rows, in<T>(weight_OD), out<float>(out_RO), outputs, begin, end, width);
      } else {
        k.multiply_rows(x, rows, in<T>(weight_OD), out<T>(out_RO), outputs, begin, end, width);
      }
    });
  });
}

Tensor attend(const Tensor& q_NHd, const Tensor& k_NKd, const Tensor& v_NKd, const Tensor& keys, const Tensor& values,
              const std::vector<int64_t>& places, const std::vector<int64_t>& lengths, int64_t window) {
  const int64_t d = q_NHd.size(2), kv_heads = k_NKd.size(1), group = q_NHd.size(1) / kv_heads, capacity = keys.size(2);
  const Tensor result = empty(q_NHd.sizes(), q_NHd.options());
  int64_t longest = 0;
  for (const int64_t place : places) longest = std::max(longest, lengths[static_cast<size_t>(place)] + 1);
  const float scale = 1 / std::sqrt(static_cast<float>(d));
  with_kernels(q_NHd, [&]<class T>(const auto& kernels, T) {
    for_rows(static_cast<int64_t>(places.size()) * kv_heads, 2 * group * longest * d, [&](int64_t begin, int64_t end) {
      float* memory = scratch(group * (d + longest + 16));
      for (int64_t i = begin; i < end; ++i) {
        const int64_t place = places[static_cast<size_t>(i / kv_heads)], head = i % kv_heads;
        const int64_t last = lengths[static_cast<size_t>(place)], first = window > 0 ? std::max<int64_t>(0, last + 1 - window) : 0;
        T *stored_keys = out<T>(keys) + (place * kv_heads + head) * capacity * d, *stored_values = out<T>(values) + (place * kv_heads + head) * capacity * d;
        std::memcpy(stored_keys + last * d, in<T>(k_NKd) + i * d, static_cast<size_t>(d) * sizeof(T));
        std::memcpy(stored_values + last * d, in<T>(v_NKd) + i * d, static_cast<size_t>(d) * sizeof(T));
        kernels.attend(in<T>(q_NHd) + i * group * d, stored_keys + first * d, stored_values + first * d, out<T>(result) + i * group * d,
                       memory, group, last + 1 - first, d, scale);
      }
    });
  });
  return result;
}

}  // namespace mose::nn::cpu
