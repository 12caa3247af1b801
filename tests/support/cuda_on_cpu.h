// Runs CUDA kernels on the CPU, so that they are tested where no GPU is. A test includes the .cu files themselves. The
// threads of a block are fibers that give way only where they wait for each other, each warp as far ahead of the others
// as barriers allow; blocks come one after the other. A shuffle that not all lanes of a warp take part in is an error.
// `reversed` turns the order of threads and of blocks around: what differs then lacks a barrier.
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

// Lets the lanes of a warp go on that wait for each other. False when none does.
inline bool release_warp(Fiber* warp) {
  int waiting = 0;
  for (int i = 0; i < 32; ++i) waiting += warp[i].state == State::kAtWarp;
  if (waiting == 0) return false;
  if (waiting < 32) throw std::runtime_error("a shuffle without all lanes of the warp");
  for (int i = 0; i < 32; ++i) warp[i].state = State::kReady;
  return true;
}

// The same of a block, whose threads have all come to its barrier or to their end.
inline bool release_block(std::vector<Fiber>& fibers) {
  bool any = false;
  for (Fiber& f : fibers) {
    if (f.state != State::kAtBlock) continue;
    f.state = State::kReady;
    any = true;
  }
  return any;
}

// Runs the lanes of a warp as far as they come without the others of the block.
inline void run_warp(size_t warp) {
  Block& b = block();
  do {
    for (size_t i = 0; i < 32; ++i) {
      const size_t thread = warp * 32 + (reversed ? 31 - i : i);
      Fiber& f = b.fibers[thread];
      if (f.state != State::kReady) continue;
      b.current = &f;
      threadIdx.x = static_cast<unsigned>(thread);
      swapcontext(&b.scheduler, &f.context);
      if (b.error) {
        b.fibers.clear();  // what the others were in the middle of
        std::rethrow_exception(b.error);
      }
    }
  } while (release_warp(&b.fibers[warp * 32]));
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
    const size_t warps = b.fibers.size() / 32;
    do {
      for (size_t w = 0; w < warps; ++w) run_warp(reversed ? warps - 1 - w : w);
    } while (release_block(b.fibers));
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
template <class V>
V atomicAdd(V* p, V value) {
  const V before = *p;
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
