// The kernels of kernels.h on tensors. Sources that include this are compiled with MOSE_CUDA_KERNELS=1 where the build
// has the kernels, and with 0 elsewhere.
#pragma once

#include <c10/core/DeviceGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <torch/types.h>

#include "nn/cpu/tensors.h"
#include "nn/cuda/kernels.h"

#ifndef MOSE_CUDA_KERNELS
#error "name this source in the line of its CMakeLists.txt that sets MOSE_CUDA_KERNELS"
#endif

namespace mose::nn::cuda {

using cpu::in;
using cpu::out;

// Whether this build has kernels for tensors like this one.
inline bool has_kernels(const torch::Tensor& t) {
  return MOSE_CUDA_KERNELS != 0 && t.is_cuda() &&
         (t.scalar_type() == torch::kFloat32 || t.scalar_type() == torch::kBFloat16);
}

// body(stream): the current one of the tensor's device, which is the current device meanwhile. A template, so that
// nothing of `body` is compiled in builds without kernels.
template <class Body>
void on_stream(const torch::Tensor& like, const Body& body) {
  if constexpr (MOSE_CUDA_KERNELS != 0) {
    const c10::DeviceGuard guard(like.device());
    const Stream stream = c10::impl::VirtualGuardImpl(c10::kCUDA).getStream(like.device()).native_handle();
    body(stream);
  }
}

// body(stream, T()) with the type of the tensor's elements.
template <class Body>
void with_kernels(const torch::Tensor& like, const Body& body) {
  on_stream(like, [&](auto stream) {
    if (like.scalar_type() == torch::kFloat32)
      body(stream, float());
    else
      body(stream, uint16_t());
  });
}

}  // namespace mose::nn::cuda
