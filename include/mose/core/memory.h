// The memory of this process.
#pragma once

#include <cstddef>
#include <cstdint>

namespace mose {

// Keeps freed memory in the process instead of handing each large block back to the system. A training
// step frees and takes the same tensors again; with the C library's defaults each one is mapped anew and
// its pages are faulted in one by one, which can cost more than the arithmetic on them. No effect where the C library is
// not glibc.
void keep_freed_memory();

// Hands back to the system what has been freed and lies between what is held: after a large part of a model has gone.
void give_back_freed_memory();

// Advice to the system, which may leave it: to read a mapped file's bytes now, all at once; and to hold memory in large pages
// (2 MiB), in which a CPU reads weights a quarter faster (Zen 4), from now on and as far as it is filled already.
void read_ahead(const void* data, size_t bytes);
void use_large_pages(const void* data, size_t bytes);

// The most resident memory so far, in bytes (Linux's VmHWM); 0 where it is not told.
int64_t peak_resident_bytes();
void reset_peak_resident();  // where the kernel lets it

}  // namespace mose
