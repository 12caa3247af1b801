#include "train/peak_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include "mose/core/memory.h"
#include "mose/train/tensor_memory.h"

namespace mose::train {
namespace {

constexpr double kMiB = 1 << 20;

auto statistics(torch::Device device) { return c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()); }

}  // namespace

// [0] of a statistic is of all pools.
double peak_memory_mib(torch::Device device) {
  return static_cast<double>(device.is_cpu() ? peak_resident_bytes() : statistics(device).reserved_bytes[0].peak) / kMiB;
}

double peak_tensor_mib(torch::Device device) {
  return static_cast<double>(device.is_cpu() ? peak_tensor_bytes() : statistics(device).allocated_bytes[0].peak) / kMiB;
}

}  // namespace mose::train
