#include "train/peak_memory.h"

#include <c10/core/CachingDeviceAllocator.h>

#include "mose/core/memory.h"

namespace mose::train {

double peak_memory_mib(torch::Device device) {
  const int64_t bytes = device.is_cpu() ? peak_resident_bytes()
                                        : c10::getDeviceAllocator(device.type())->getDeviceStats(device.index()).allocated_bytes[0].peak;  // 0: of all pools
  return static_cast<double>(bytes) / (1 << 20);
}

}  // namespace mose::train
