// A GPU's limits as rows, against the same in PyTorch: how even the two sides are.
#include <torch/torch.h>

#include <cmath>

#include "bench/gpu.h"

namespace mose::bench {

void bench_gpu_machine(Session& session) {
  Gpu gpu(session);
  const auto peer = gpu.start_peer("gpu_layer");
  for (auto& work : limit_works(gpu)) {
    gpu.attempt("gpu-machine: " + work.name, 10, [&] {
      peer->call("prepare_limit", {{"work", work.name}, {"side", gpu.size(8192, 64)}, {"bytes", gpu.size(int64_t{4} << 30, 1 << 16)}});
      Comparison c;
      c.name = "gpu-machine: " + work.name;
      c.shape = work.shape;
      c.ours = [&] { return gpu.seconds(work.run); };
      c.sides = {{"PyTorch", [&] { return peer->seconds("limit"); }}};
      c.finish = [&](Row& row) {
        const bool product = work.name == "gemm";
        row.more[product ? "teraflops" : "gigabytes_per_second"] = std::round(work.amount / row.ours_ms / (product ? 1e8 : 1e5)) / 10;
      };
      gpu.compare(c);
    });
  }
}

}  // namespace mose::bench
