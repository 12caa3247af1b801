#include "nn/cpu/few_rows.h"

#include <cmath>
#include <cstring>

#include "mose/nn/inference.h"
#include "mose/nn/int8.h"
#include "nn/cpu/tensors.h"

namespace mose::nn::cpu {
namespace {

using torch::Tensor;

// Memory of this thread, for one kernel's use at a time. It begins where a vector of 64 bytes does.
float* scratch(int64_t numbers) {
  constexpr size_t kBytes = 64;
  thread_local std::vector<float> memory;
  const size_t needed = static_cast<size_t>(numbers) + kBytes / sizeof(float);
  if (memory.size() < needed) memory.resize(needed);
  const size_t over = reinterpret_cast<uintptr_t>(memory.data()) % kBytes;
  return memory.data() + (over ? (kBytes - over) / sizeof(float) : 0);
}

template <class T>
const float* arranged(const Kernels<T>& k, const Tensor& x, int64_t rows, int64_t width, bool packed) {
  if (!packed && x.scalar_type() == torch::kFloat32) return in<float>(x);
  const int64_t room = packed ? k.int8_room(width) : width;
  float* out = scratch(rows * room);
  for_rows(rows, width, [&](int64_t begin, int64_t end) {
    (packed ? k.arrange_int8 : k.arrange)(in<T>(x) + begin * width, out + begin * room, end - begin, width);
  });
  return out;
}

}  // namespace

int64_t few_packed_rows(torch::Dtype type) {
  return type == torch::kFloat32 ? kernels<float>().most_int8_rows : kernels<uint16_t>().most_int8_rows;
}

void multiply(const Tensor& x_RD, const Tensor& weight_OD, const Tensor& out_RO) {
  const int64_t rows = x_RD.size(0), width = x_RD.size(1), outputs = weight_OD.size(0);
  const bool packed = is_packed(weight_OD);
  with_kernels(x_RD, [&]<class T>(const auto& k, T) {
    const float* x = arranged<T>(k, x_RD, rows, width, packed);
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
