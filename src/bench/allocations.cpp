#include "mose/bench/allocations.h"

#include <c10/core/Allocator.h>
#include <c10/core/CPUAllocator.h>

#include <atomic>

namespace mose::bench {
namespace {

// Counts and lets another one do the work.
class CountingAllocator : public c10::Allocator {
 public:
  explicit CountingAllocator(c10::Allocator& worker) : worker_(worker) {}
  c10::DataPtr allocate(size_t bytes) override {
    ++count_;
    return worker_.allocate(bytes);
  }
  c10::DeleterFnPtr raw_deleter() const override { return worker_.raw_deleter(); }
  void copy_data(void* to, const void* from, size_t bytes) const override { worker_.copy_data(to, from, bytes); }
  int64_t count() const { return count_; }

 private:
  c10::Allocator& worker_;
  std::atomic<int64_t> count_ = 0;
};

// Of LibTorch while it lives.
class AllocatorGuard {
 public:
  AllocatorGuard(c10::Allocator& now, c10::Allocator& then) : then_(then) { c10::SetCPUAllocator(&now); }
  ~AllocatorGuard() { c10::SetCPUAllocator(&then_); }
  AllocatorGuard(const AllocatorGuard&) = delete;
  AllocatorGuard& operator=(const AllocatorGuard&) = delete;

 private:
  c10::Allocator& then_;
};

}  // namespace

int64_t tensors_allocated(const std::function<void()>& work) {
  c10::Allocator& before = *c10::GetCPUAllocator();
  CountingAllocator counting(before);
  {
    const AllocatorGuard guard(counting, before);
    work();
  }
  return counting.count();
}

}  // namespace mose::bench
