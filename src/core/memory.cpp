#include "mose/core/memory.h"

#include <fstream>
#include <string>

#if defined(__linux__)
#include <sys/mman.h>
#include <unistd.h>
#endif
#if defined(__GLIBC__)
#include <malloc.h>
#endif

namespace mose {

void keep_freed_memory() {
#if defined(__GLIBC__)
  mallopt(M_MMAP_MAX, 0);               // large blocks come from the heap too,
  mallopt(M_TRIM_THRESHOLD, 1 << 30);   // which shrinks only when this much is free at its end
  mallopt(M_TOP_PAD, 64 << 20);         // and grows in steps of 64 MiB
#endif
}

void give_back_freed_memory() {
#if defined(__GLIBC__)
  malloc_trim(0);
#endif
}

namespace {

// The whole pages of `size` bytes among these.
[[maybe_unused]] void advise(const void* data, size_t bytes, size_t size, int advice) {
#if defined(__linux__)
  const auto begin = (reinterpret_cast<uintptr_t>(data) + size - 1) / size * size, end = (reinterpret_cast<uintptr_t>(data) + bytes) / size * size;
  if (begin < end) ::madvise(reinterpret_cast<void*>(begin), end - begin, advice);
#endif
}

}  // namespace

void read_ahead([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  advise(data, bytes, static_cast<size_t>(sysconf(_SC_PAGESIZE)), MADV_WILLNEED);
#endif
}

void use_large_pages([[maybe_unused]] const void* data, [[maybe_unused]] size_t bytes) {
#if defined(__linux__)
  constexpr size_t kLarge = 2 << 20;
  constexpr int kCollapse = 25;  // MADV_COLLAPSE, of Linux 6.1: pages that hold something become a large one now
  advise(data, bytes, kLarge, MADV_HUGEPAGE);
  advise(data, bytes, kLarge, kCollapse);
#endif
}

int64_t peak_resident_bytes() {
  std::ifstream status("/proc/self/status");
  for (std::string line; std::getline(status, line);) {
    if (line.starts_with("VmHWM:")) return std::stoll(line.substr(6)) << 10;  // given in kB
  }
  return 0;
}

void reset_peak_resident() { std::ofstream("/proc/self/clear_refs") << "5"; }

}  // namespace mose
