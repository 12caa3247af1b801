#include "mose/bench/machine.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <fstream>
#include <thread>

#include "bench/machine_work.h"
#include "mose/bench/timing.h"
#include "mose/core/error.h"
#include "mose/core/memory.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

// The value of "key   : value" in /proc/cpuinfo.
std::string cpu_info(const std::string& key) {
  std::ifstream in("/proc/cpuinfo");
  for (std::string line; std::getline(in, line);) {
    const size_t colon = line.find(':');
    if (colon != std::string::npos && trim(line.substr(0, colon)) == key) return trim(line.substr(colon + 1));
  }
  return "";
}

bool has_flag(const std::string& flag) { return str(" ", cpu_info("flags"), " ").find(str(" ", flag, " ")) != std::string::npos; }

}  // namespace

bool has_bfloat16() { return has_flag("avx512_bf16"); }

void require_bfloat16() {
  if (!has_bfloat16()) throw Error("this CPU has no instructions for bfloat16 (avx512_bf16)");
}

std::string cpu_name() {
  const std::string name = cpu_info("model name");
  std::string text = str(name.empty() ? "unknown CPU" : name, ", ", std::thread::hardware_concurrency(), " cores");
  text += has_flag("avx512f") ? ", AVX-512" : has_flag("avx2") ? ", AVX2" : "";
  return text + (has_bfloat16() ? " with BF16 instructions" : ", no BF16 instructions");
}

std::string system_load() {
  std::ifstream in("/proc/loadavg");
  std::string one, five, fifteen;
  in >> one >> five >> fifteen;
  return str(one, ", ", five, ", ", fifteen);
}

CopyWork::CopyWork() : from_(at::rand({kCopyBytes / 4})), to_(at::empty_like(from_)) {}
void CopyWork::operator()() { to_.copy_(from_); }

ReadWork::ReadWork() : from_(at::rand({kCopyBytes / 4})), sum_(at::empty({1})) { use_large_pages(from_.const_data_ptr(), from_.nbytes()); }
void ReadWork::operator()() { at::sum_out(sum_, from_, 0, /*keepdim=*/true); }

GemmWork::GemmWork(torch::Dtype type)
    : a_(at::rand({kGemmSide, kGemmSide}).to(type)), b_(at::rand({kGemmSide, kGemmSide}).to(type)), out_(at::empty_like(a_)) {}
void GemmWork::operator()() { at::mm_out(out_, a_, b_); }

Limits measure_limits(int64_t threads, int64_t repetitions) {
  at::set_num_threads(static_cast<int>(threads));
  const auto rate = [&](const std::function<void()>& work, double amount) {
    std::vector<double> seconds;
    work();
    for (int64_t i = 0; i < repetitions; ++i) seconds.push_back(wall_seconds(work));
    return amount / *std::min_element(seconds.begin(), seconds.end());
  };
  return {rate(CopyWork(), kCopyTraffic), rate(ReadWork(), kCopyBytes), rate(GemmWork(), kGemmFlops),
          has_bfloat16() ? rate(GemmWork(torch::kBFloat16), kGemmFlops) : 0};
}

}  // namespace mose::bench
