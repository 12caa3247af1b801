// How much new memory a work asks for.
#pragma once

#include <cstdint>
#include <functional>

namespace mose::bench {

// The tensors whose memory comes from LibTorch's allocator of the CPU while the work runs, in any thread. Not for two works at a
// time.
int64_t tensors_allocated(const std::function<void()>& work);

}  // namespace mose::bench
