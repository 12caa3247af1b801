#include "mose/train/tensor_memory.h"

#include <c10/core/CPUAllocator.h>

#include <atomic>

#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace mose::train {
namespace {

std::atomic<int64_t> held{0}, most{0};

#if defined(__GLIBC__)
void take(int64_t bytes) {
  const int64_t now = held.fetch_add(bytes, std::memory_order_relaxed) + bytes;
  int64_t peak = most.load(std::memory_order_relaxed);
  while (now > peak && !most.compare_exchange_weak(peak, now, std::memory_order_relaxed)) {
  }
}

// LibTorch's own allocator, with its blocks counted by the size that the heap knows of them.
class CountingAllocator : public c10::Allocator {
 public:
  c10::DataPtr allocate(size_t bytes) override {
    auto data = plain_->allocate(bytes);
    if (data) {
      take(static_cast<int64_t>(malloc_usable_size(data.get())));
      TORCH_CHECK(data.compare_exchange_deleter(plain_->raw_deleter(), free_counted), "an allocation with a deleter of its own");
    }
    return data;
  }
  c10::DeleterFnPtr raw_deleter() const override { return free_counted; }
  void copy_data(void* to, const void* from, size_t bytes) const override { default_copy_data(to, from, bytes); }

 private:
  static void free_counted(void* data) {
    held.fetch_sub(static_cast<int64_t>(malloc_usable_size(data)), std::memory_order_relaxed);
    c10::GetDefaultCPUAllocator()->raw_deallocate(data);
  }

  c10::Allocator* plain_ = c10::GetDefaultCPUAllocator();
};
#endif

}  // namespace

void count_tensor_memory() {
#if defined(__GLIBC__)
  static auto* allocator = new CountingAllocator;  // outlives every tensor
  c10::SetCPUAllocator(allocator);
#endif
}

int64_t peak_tensor_bytes() { return most; }

}  // namespace mose::train
