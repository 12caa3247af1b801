// The works that give the machine's limits.
#pragma once

#include <torch/types.h>

namespace mose::bench {

inline constexpr int64_t kCopyBytes = 256 << 20, kGemmSide = 2048;
inline constexpr double kCopyTraffic = 2.0 * kCopyBytes;  // each byte is read and written
inline constexpr double kGemmFlops = 2.0 * kGemmSide * kGemmSide * kGemmSide;

class CopyWork {
 public:
  CopyWork();
  void operator()();

 private:
  torch::Tensor from_, to_;
};

// Adds up what it reads, which lies in large pages.
class ReadWork {
 public:
  ReadWork();
  void operator()();

 private:
  torch::Tensor from_, sum_;
};

class GemmWork {
 public:
  explicit GemmWork(torch::Dtype type = torch::kFloat32);
  void operator()();

 private:
  torch::Tensor a_, b_, out_;
};

}  // namespace mose::bench
