#include "mose/bench/timing.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <ctime>

#include "mose/core/error.h"
#include "mose/core/signals.h"

namespace mose::bench {

double wall_seconds(const std::function<void()>& work) {
  const auto begin = std::chrono::steady_clock::now();
  work();
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
}

double cpu_seconds(const std::function<void()>& work) {
  const auto now = [] {
    timespec t{};
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return static_cast<double>(t.tv_sec) + 1e-9 * static_cast<double>(t.tv_nsec);
  };
  const double begin = now();
  work();
  return now() - begin;
}

double median(std::vector<double> values) {
  if (values.empty()) throw Error("median: no values");
  std::sort(values.begin(), values.end());
  const size_t half = values.size() / 2;
  return values.size() % 2 == 1 ? values[half] : (values[half - 1] + values[half]) / 2;
}

Timing time_by_turns(const Work& ours, const Work& again, const std::vector<Work>& peers, int64_t repetitions) {
  std::vector<double> first, second;
  std::vector<std::vector<double>> others(peers.size());
  const size_t half = (peers.size() + 1) / 2;
  for (int64_t round = -1; round < repetitions; ++round) {
    const auto run = [&](const Work& work, std::vector<double>& into) {
      throw_if_stopped();
      const double seconds = work();
      if (round >= 0) into.push_back(seconds);
    };
    run(ours, first);
    for (size_t i = 0; i < half; ++i) run(peers[i], others[i]);
    run(again, second);
    for (size_t i = peers.size() == 1 ? 0 : half; i < peers.size(); ++i) run(peers[i], others[i]);
  }
  Timing timing;
  const double a = median(first), b = median(second);
  first.insert(first.end(), second.begin(), second.end());
  timing.ours = median(first);
  timing.noise = std::abs(a - b) / timing.ours;
  for (const auto& series : others) timing.peers.push_back(median(series));
  return timing;
}

}  // namespace mose::bench
