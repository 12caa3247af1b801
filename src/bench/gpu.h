// What the rows for a GPU share: the device, sizes, a clock that waits for the device, its limits, the budget of time. A
// rehearsal (Options::rehearse) runs them on the CPU at tiny sizes.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "bench/session.h"
#include "bench/shape_r.h"

namespace mose::bench {

// Of the device, measured with LibTorch, medians.
struct GpuLimits {
  double gemm_flops = 0;             // bfloat16, square matrices
  double copy_bytes_per_second = 0;  // read and written
  double read_bytes_per_second = 0;  // read alone, by a sum
};

class Gpu {
 public:
  // Error where there is no GPU and this is no rehearsal.
  explicit Gpu(Session& session);

  torch::Device device() const { return device_; }
  bool rehearsal() const { return device_.is_cpu(); }
  int64_t size(int64_t full, int64_t tiny) const { return rehearsal() ? tiny : full; }
  Session& session() { return session_; }

  // The seconds that the work takes, from an idle device to an idle device.
  double seconds(const std::function<void()>& work) const;
  void wait() const;
  // The most bytes that the work's tensors take beside those that are there; 0 on a CPU.
  double peak_bytes(const std::function<void()>& work) const;
  const GpuLimits& limits();

  std::unique_ptr<Peer> start_peer(const std::string& module);
  // Session::attempt where the budget has room for about so many seconds; else the row is left out.
  void attempt(const std::string& name, double seconds, const std::function<void()>& work);
  // Session::compare with as many repetitions as a row's seconds allow, 3 at least. Sets "device" and "repetitions" of the rows, named gpu-*.
  void compare(Comparison comparison);

 private:
  Session& session_;
  torch::Device device_;
};

// The works that give the limits, and what they move or multiply.
struct GpuWork {
  std::string name;  // copy, read, gemm
  std::string shape;
  std::function<void()> run;
  double amount = 0;  // bytes, or floating-point operations
};
std::vector<GpuWork> limit_works(const Gpu& gpu);

// GPU shape R: width 2048, FFN and experts 5504 wide, 24 layers, of which every second has 4 experts (2 a token), 16 heads,
// vocabulary 151,936, bfloat16: 3.05 B parameters, of which a token meets 1.93 B. In a rehearsal the same at a tiny size.
// A tiny tower turns a picture into 576 rows. Every weight of the decoder is drawn on the device by a seed of its own, in the order
// of `parameters`, so that a peer that draws likewise has the same ones.
ShapeR make_gpu_shape(const Gpu& gpu);
std::string about(const Gpu& gpu, const ShapeR& shape);
// The arguments of a peer's `build`.
Json gpu_peer_model(const Gpu& gpu, const ShapeR& shape, const std::string& experts);
double activated_elements(const ShapeR& shape, bool head);  // parameters that a token meets, with or without the head

}  // namespace mose::bench
