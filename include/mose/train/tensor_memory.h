// How much memory tensors on a CPU take, as LibTorch tells it of a GPU. Resident memory also has what the heap keeps
// between them, which differs between machines; what `mose-model info` predicts is tensors.
#pragma once

#include <cstdint>

namespace mose::train {

// From now on LibTorch's CPU allocator counts. For a program to call at its start: tensors that are there already are
// left out. No effect where the C library is not glibc.
void count_tensor_memory();

// The most bytes that counted tensors held at once; 0 where they are not counted.
int64_t peak_tensor_bytes();

}  // namespace mose::train
