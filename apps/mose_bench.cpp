// mose-bench: ours and the peers' side by side.
#include <torch/version.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <iostream>

#include "mose/bench/benchmarks.h"
#include "mose/core/error.h"
#include "mose/core/files.h"
#include "mose/core/memory.h"
#include "mose/core/program.h"
#include "mose/core/strings.h"

namespace {

using namespace mose;

struct Arguments {
  std::vector<std::string> names;
  bench::Options options;
  std::string json, markdown;
};

// Before anything is measured: a file that could not be written in the end.
void check_folder(const char* option, const std::string& file) {
  if (file.empty()) return;
  const auto folder = std::filesystem::absolute(file).parent_path();
  if (!std::filesystem::is_directory(folder)) throw UsageError(str(option, ": there is no folder ", folder.string()));
}

void run(Arguments& a) {
  check_folder("--json", a.json);
  check_folder("--markdown", a.markdown);
  // After every row, so that what was measured stays when the run is ended.
  if (!a.json.empty()) a.options.after_row = [&](const bench::Report& report) { save_json(a.json, bench::to_json(report)); };
  const bench::Report report = bench::run_benchmarks(a.names, a.options);
  std::cout << bench::table(report) << std::flush;
  if (!a.json.empty()) save_json(a.json, bench::to_json(report));
  if (!a.markdown.empty()) {
    std::string command = str("mose-bench ", join(a.names, " "), " --repetitions ", a.options.repetitions);
    if (a.options.threads > 0) command += str(" --threads ", a.options.threads);
    if (a.options.rehearse) command += " --rehearse";
    write_file(a.markdown, bench::markdown(report, a.options, command));
  }
  const auto failed = [](const bench::Missing& m) { return !m.left_out; };
  const auto first = std::find_if(report.missing.begin(), report.missing.end(), failed);
  if (first != report.missing.end()) {
    throw Error(str(std::count_if(report.missing.begin(), report.missing.end(), failed), " of the comparisons could not be made; the first: ",
                    first->name, ": ", first->reason));
  }
}

}  // namespace

int main(int argc, char** argv) {
  keep_freed_memory();
  Arguments a;
  return run_program(argc, argv,
                     {"mose-bench",
                      "Benchmarks: ours and what users would take instead, by turns in one run, results checked before timing.",
                      [] { return std::string("LibTorch " TORCH_VERSION); }},
                     [&](CLI::App& app) {
                       app.require_subcommand(1, 0);
                       app.add_option("--repetitions", a.options.repetitions, "rounds that are measured")
                           ->check(CLI::Range(1, 1000))->capture_default_str()->group("Measuring");
                       app.add_option("--threads", a.options.threads, "of works that use more than one, on both sides; 0 = every core")
                           ->check(CLI::Range(0, 1024))->capture_default_str()->group("Measuring");
                       app.add_option("--python", a.options.python, "the peers' Python; default: that of .venv, else python3")->group("Measuring");
                       app.add_option("--budget", a.options.budget_seconds, "seconds for all rows for a GPU; what no longer fits is listed as left out")
                           ->check(CLI::Range(1.0, 1e6))->capture_default_str()->group("Measuring");
                       app.add_option("--row-seconds", a.options.row_seconds, "about as many seconds for one row for a GPU: it has fewer repetitions, 3 at least")
                           ->check(CLI::Range(0.0, 1e6))->capture_default_str()->group("Measuring");
                       app.add_flag("--rehearse", a.options.rehearse, "the rows for a GPU on the CPU, at tiny sizes: to try their code")->group("Measuring");
                       app.add_option("--json", a.json, "file for the rows: [{name, shape, peer, ours_ms, peer_ms, ratio, noise, limit_share, ...}]")
                           ->group("Output");
                       app.add_option("--markdown", a.markdown, "file for the table with machine, versions and command")->group("Output");
                       const auto add = [&](const std::string& name, const std::string& description) {
                         app.add_subcommand(name, description)->callback([&a, name] { a.names.push_back(name); });
                       };
                       add("all", "every benchmark but claims, in under 15 minutes on two idle cores");
                       add("gpu", "every benchmark for a GPU, within --budget");
                       for (const auto& benchmark : bench::benchmarks()) add(benchmark.name, benchmark.description);
                       app.callback([&] { run(a); });
                     });
}
