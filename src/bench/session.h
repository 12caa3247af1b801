// What one run of benchmarks shares: options, measured limits, rows and failures.
#pragma once

#include <chrono>
#include <filesystem>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mose/bench/benchmarks.h"
#include "mose/bench/machine.h"
#include "mose/bench/peer.h"
#include "mose/bench/timing.h"

namespace mose::bench {

// A folder that is gone with the object.
class ScratchFolder {
 public:
  ScratchFolder();
  ~ScratchFolder();
  ScratchFolder(const ScratchFolder&) = delete;
  ScratchFolder& operator=(const ScratchFolder&) = delete;
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
};

// One peer of a comparison: its name in the table and its turn.
struct Side {
  std::string peer;
  Work work;
};

inline constexpr int64_t kSlowRepetitions = 5;  // of what takes seconds a round

struct Comparison {
  std::string name, shape;
  Work ours, again;  // `again` empty: ours
  int64_t repetitions = 0;  // at most, where one takes long; 0 = the options'
  std::vector<Side> sides;
  // Of a row with these medians: sets limit_share and whatever else there is to say.
  std::function<void(Row&)> finish;
};

class Session {
 public:
  explicit Session(Options options);

  const Options& options() const { return options_; }
  int64_t threads() const { return options_.threads; }
  const Limits& limits();  // measured when first asked for
  std::unique_ptr<Peer> start_peer(const std::string& module, int64_t threads);

  // Times and adds one row a side.
  void compare(const Comparison& comparison);
  // Runs `work`; an error of it is noted as missing for (name, peer) and stops nothing else. False then.
  bool attempt(const std::string& name, const std::string& peer, const std::function<void()>& work);
  void add_version(const std::string& version);
  double seconds_left() const;  // of the budget for a GPU's rows
  void leave_out(const std::string& name);  // since too little is left

  Report report;
  std::shared_ptr<struct GpuLimits> gpu_limits;  // measured when first asked for (gpu.h)

 private:
  Options options_;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
  std::unique_ptr<Limits> limits_;
};

// The benchmarks, one a source file.
void bench_machine(Session& session);
void bench_tokenizer(Session& session);
void bench_image(Session& session);
void bench_moe(Session& session);
void bench_head(Session& session);
void bench_train(Session& session);
void bench_decode(Session& session);
void bench_startup(Session& session);
void bench_evaluate(Session& session);
void bench_router(Session& session);
void bench_packed(Session& session);
void bench_growth(Session& session);
void bench_claims(Session& session);
void bench_trainer(Session& session);
void bench_gpu_machine(Session& session);
void bench_gpu_moe(Session& session);
void bench_gpu_head(Session& session);
void bench_gpu_decode(Session& session);
void bench_gpu_train(Session& session);
void bench_gpu_evaluate(Session& session);
void bench_gpu_compiled(Session& session);

}  // namespace mose::bench
