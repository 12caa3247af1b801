// How the process's allocator treats memory that is freed.
#pragma once

namespace mose {

// Keeps freed memory in the process instead of handing each large block back to the system. A training
// step frees and takes the same tensors again; with the C library's defaults each one is mapped anew and
// its pages are faulted in one by one, which can cost more than the arithmetic on them. No effect where the C library is
// not glibc.
void keep_freed_memory();

}  // namespace mose
