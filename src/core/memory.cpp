#include "mose/core/memory.h"

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

}  // namespace mose
