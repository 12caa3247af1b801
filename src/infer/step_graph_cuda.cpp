#include <ATen/cuda/CUDAGraph.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <cuda_runtime_api.h>

#include <memory>

#include "infer/step_graph.h"

namespace mose::infer {
namespace {

constexpr int kWarmUps = 2;  // libraries choose and allocate in their first calls

std::function<void()> record(torch::Device device, const std::function<void()>& work) {
  const auto stream = c10::cuda::getStreamFromPool(/*isHighPriority=*/false, device.index());
  c10::cuda::device_synchronize();
  auto graph = std::make_shared<at::cuda::CUDAGraph>();
  const c10::cuda::CUDAStreamGuard guard(stream);
  for (int i = 0; i < kWarmUps; ++i) work();
  stream.synchronize();
  graph->capture_begin({0, 0}, cudaStreamCaptureModeThreadLocal);  // other threads may go on
  try {
    work();
  } catch (...) {
    try {
      graph->capture_end();
    } catch (const std::exception&) {  // that the capture was broken off is known
    }
    static_cast<void>(cudaGetLastError());
    throw;
  }
  graph->capture_end();
  return [graph] { graph->replay(); };
}

}  // namespace

Recorder graph_recorder(torch::Device device) {
  if (!device.is_cuda()) return nullptr;
  return [device](const std::function<void()>& work) { return record(device, work); };
}

}  // namespace mose::infer
