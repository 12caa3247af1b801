// The machine's limits as rows, against the same in PyTorch: how even the two sides are.
#include <ATen/Parallel.h>

#include <cmath>

#include "bench/machine_work.h"
#include "bench/session.h"

namespace mose::bench {

void bench_machine(Session& session) {
  at::set_num_threads(static_cast<int>(session.threads()));
  const auto peer = session.start_peer("machine", session.threads());
  peer->call("setup", {{"threads", session.threads()}, {"copy_bytes", kCopyBytes}, {"side", kGemmSide}});
  const auto compare = [&](const char* name, const char* shape, const char* work, const std::function<void()>& ours,
                           double amount, const char* unit) {
    Comparison c;
    c.name = name;
    c.shape = shape;
    c.ours = [&] { return wall_seconds(ours); };
    c.sides = {{"PyTorch", [&] { return peer->seconds("run", {{"work", work}}); }}};
    c.finish = [&](Row& row) {
      row.more = {{"threads", session.threads()}, {"clock", "wall"}, {unit, std::round(amount / row.ours_ms / 1e5) / 10}};
    };
    session.compare(c);
  };
  compare("machine: copy", "256 MiB", "copy", CopyWork(), kCopyTraffic, "gigabytes_per_second");
  compare("machine: read", "256 MiB", "read", ReadWork(), kCopyBytes, "gigabytes_per_second");
  compare("machine: matrix product", "2048 x 2048 x 2048, float32", "gemm", GemmWork(), kGemmFlops, "gigaflops");
}

}  // namespace mose::bench
