// What the machine is, and what it can do at most.
#pragma once

#include <cstdint>
#include <string>

namespace mose::bench {

bool has_bfloat16();           // instructions that multiply bfloat16
void require_bfloat16();       // Error where there are none
std::string cpu_name();        // "AMD EPYC, 2 cores, AVX-512, BF16 instructions"
std::string system_load();     // "0.12, 0.80, 1.10": the load averages

// The best that LibTorch was seen to do on `threads` threads.
struct Limits {
  double copy_bytes_per_second = 0;  // read and written, of 256 MiB
  double read_bytes_per_second = 0;  // read alone, of 256 MiB
  double gemm_flops = 0;             // float32, 2048 x 2048 x 2048
  double bfloat16_flops = 0;         // the same in bfloat16; 0 without such instructions
};
Limits measure_limits(int64_t threads, int64_t repetitions);

}  // namespace mose::bench
