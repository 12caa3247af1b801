// Runs CUDA kernels on the CPU, so that they are tested where no GPU is. A test includes the .cu files themselves. The
// threads of a block are fibers that give way only where threads wait for each other; blocks come one after the other.
// A thread that waits in vain, and a shuffle that not all lanes of a warp take part in, are errors. `reversed` turns
// the order of threads and of blocks around: what differs then lacks a barrier.
//
// It knows one dimension, static shared memory, and what is defined below.
#pragma once

#include <ucontext.h>

#include <cstdint>
#include <cstdio>
#include <cstring>
#include <exception>
#include <functional>
#include <stdexcept>
#include <vector>

#include "nn/cuda/kernels.h"

#define __global__
#define __device__
#define __shared__ static  // blocks do not overlap

struct CudaIndex {
  unsigned x = 0;
};
inline CudaIndex threadIdx, blockIdx, blockDim, gridDim;

namespace cuda_on_cpu {

inline bool reversed = false;

enum class State { kReady, kAtWarp, kAtBlock, kDone };

struct Fiber {
  ucontext_t context;
  std::vector<char> stack = std::vector<char>(64 * 1024);
  State state = State::kDone;
  uint64_t given = 0;  // to a shuffle
};

struct Block {
  std::vector<Fiber> fibers;
  ucontext_t scheduler;
  Fiber* current = nullptr;
  const std::function<void()>* work = nullptr;
  std::exception_ptr error;
};
inline Block& block() {
  static Block b;
  return b;
}

inline void wait(State what) {
  Fiber& self = *block().current;
  const CudaIndex index = threadIdx;
  self.state = what;
  swapcontext(&self.context, &block().scheduler);
  threadIdx = index;
}

inline void start() {
  Block& b = block();
  try {
    (*b.work)();
  } catch (...) {
    b.error = std::current_exception();
  }
  b.current->state = State::kDone;
}

// Makes the threads that all others of their warp or block have joined ready again. False when none is.
inline bool release(std::vector<Fiber>& fibers) {
  bool any = false;
  for (size_t begin = 0; begin < fibers.size(); begin += 32) {
    size_t waiting = 0, busy = 0, done = 0;
    for (size_t i = begin; i < begin + 32; ++i) {
      waiting += fibers[i].state == State::kAtWarp;
      done += fibers[i].state == State::kDone;
      busy += fibers[i].state == State::kAtBlock;
    }
    if (waiting == 0) continue;
    if (done > 0 || busy > 0) throw std::runtime_error("a shuffle without all lanes of the warp");
    for (size_t i = begin; i < begin + 32; ++i) fibers[i].state = State::kReady;
    any = true;
  }
  if (any) return true;
  for (Fiber& f : fibers) {
    if (f.state != State::kAtBlock) continue;
    f.state = State::kReady;
    any = true;
  }
  return any;
}

inline void run(int64_t blocks, int threads, const std::function<void()>& work) {
  if (threads % 32 != 0) throw std::runtime_error("a block of whole warps was expected");
  Block& b = block();
  if (b.fibers.size() != static_cast<size_t>(threads)) b.fibers = std::vector<Fiber>(static_cast<size_t>(threads));
  b.work = &work;
  b.error = nullptr;
  blockDim.x = static_cast<unsigned>(threads);
  gridDim.x = static_cast<unsigned>(blocks);
  for (int64_t n = 0; n < blocks; ++n) {
    blockIdx.x = static_cast<unsigned>(reversed ? blocks - 1 - n : n);
    for (Fiber& f : b.fibers) {
      getcontext(&f.context);
      f.context.uc_stack.ss_sp = f.stack.data();
      f.context.uc_stack.ss_size = f.stack.size();
      f.context.uc_link = &b.scheduler;
      makecontext(&f.context, start, 0);
      f.state = State::kReady;
    }
    do {
      for (int i = 0; i < threads; ++i) {
        const int thread = reversed ? threads - 1 - i : i;
        Fiber& f = b.fibers[static_cast<size_t>(thread)];
        if (f.state != State::kReady) continue;
        b.current = &f;
        threadIdx.x = static_cast<unsigned>(thread);
        swapcontext(&b.scheduler, &f.context);
        if (b.error) {
          b.fibers.clear();  // what the others were in the middle of
          std::rethrow_exception(b.error);
        }
      }
    } while (release(b.fibers));
  }
}

template <class V>
V shuffle(V value, unsigned from) {
  Block& b = block();
  std::memcpy(&b.current->given, &value, sizeof(value));
  wait(State::kAtWarp);
  std::memcpy(&value, &b.fibers[threadIdx.x / 32 * 32 + from].given, sizeof(value));
  wait(State::kAtWarp);  // all have read before anyone gives again
  return value;
}

template <class... Values>
[[noreturn]] void refuse(const char* format, Values... values) {
  char text[256];
  std::snprintf(text, sizeof(text), format, values...);
  throw std::runtime_error(text);
}

}  // namespace cuda_on_cpu

inline void __syncthreads() {
  cuda_on_cpu::wait(cuda_on_cpu::State::kAtBlock);
}
template <class V>
V __shfl_sync(unsigned, V value, int from) {
  return cuda_on_cpu::shuffle(value, static_cast<unsigned>(from));
}
template <class V>
V __shfl_xor_sync(unsigned, V value, int bits) {
  return cuda_on_cpu::shuffle(value, threadIdx.x % 32 ^ static_cast<unsigned>(bits));
}
template <class V>
V __shfl_up_sync(unsigned, V value, unsigned distance) {
  const unsigned lane = threadIdx.x % 32;
  return cuda_on_cpu::shuffle(value, lane < distance ? lane : lane - distance);
}
inline int atomicAdd(int* p, int value) {
  const int before = *p;
  *p += value;
  return before;
}
#define MOSE_REFUSE(...) cuda_on_cpu::refuse(__VA_ARGS__)

namespace mose::nn::cuda {

template <class... Parameters, class... Arguments>
void launch(void (*kernel)(Parameters...), int64_t blocks, int threads, Stream, Arguments... arguments) {
  cuda_on_cpu::run(blocks, threads, [&] { kernel(arguments...); });
}

}  // namespace mose::nn::cuda
