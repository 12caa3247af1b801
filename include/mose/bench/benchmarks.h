// The benchmarks: the same work done by ours and by what users would take instead, checked against a
// reference and then timed by turns (timing.h).
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "mose/core/json.h"

namespace mose::bench {


// One comparison.
struct Row {
  std::string name, shape, peer;
  double ours_ms = 0, peer_ms = 0;  // medians
  double noise = 0;                 // of ours: see Timing
  std::optional<double> limit_share;  // what the machine allows at most, as a share of our time
  Json more = Json::object();       // what else was measured: threads, clock, limit, tokens_per_second, ...

  double ratio() const { return peer_ms / ours_ms; }
};

// A comparison that could not be made (a package that is not installed), whose results differ, or that was left out.
struct Missing {
  std::string name, peer, reason;
  bool left_out = false;  // since the budget of time was spent
};

struct Report {
  std::vector<Row> rows;
  std::vector<Missing> missing;
  std::vector<std::string> versions;  // of the peers, as they name themselves
  std::string device;                 // of the rows for a GPU; "" where there are none
};

struct Options {
  int64_t repetitions = 15;
  int64_t threads = 0;        // of rows that use more than one; 0 = every core
  std::string python = "";    // the peers'; "" = default_python()
  // Of the rows for a GPU: seconds for all of them, after which the others are left out, and about as many for one row, which then has fewer
  // repetitions (3 at least).
  double budget_seconds = 520, row_seconds = 12;
  bool rehearse = false;      // these rows on the CPU at tiny sizes, to try their code where there is no GPU
  std::function<void(const Report&)> after_row;  // called with all rows so far; may be empty
};

struct Benchmark {
  std::string name, description;
  bool in_all = true;  // one of those that "all" runs
  bool gpu = false;    // one of those that "gpu" runs
};
const std::vector<Benchmark>& benchmarks();

// Runs the named ones, "all" being those that together take a quarter of an hour, "gpu" those for a GPU within their budget. What fails is in `missing`, and the others go on.
// UsageError on an unknown name; Interrupted after a signal.
Report run_benchmarks(const std::vector<std::string>& names, const Options& options);

// [{name, shape, peer, ours_ms, peer_ms, ratio, noise, limit_share, ...}]; limit_share null where no limit
// of the machine binds.
Json to_json(const Report& report);
std::string table(const Report& report);  // for a terminal
// The same with machine, versions and command, in Markdown.
std::string markdown(const Report& report, const Options& options, const std::string& command);

}  // namespace mose::bench
