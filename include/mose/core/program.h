// What every program shares: grouped --help, --version, --log-level, --quiet, exit codes.
#pragma once

#include <functional>
#include <string>
#include <vector>

namespace CLI {
class App;
}

namespace mose {

struct ProgramInfo {
  std::string name;         // "mose-eval"
  std::string description;  // one or two sentences
  // Lines that --version adds after the project's own (LibTorch, CUDA, NCCL).
  std::function<std::string()> version_details;
};

// Parses the command line and runs the chosen subcommand's callback (set with App::callback).
// Returns the exit code: mose::Error's own, 2 for a wrong command line, 128 + n after signal n, 1
// for any other exception. Errors are one line on stderr.
int run_program(int argc, char** argv, const ProgramInfo& info,
                const std::function<void(CLI::App&)>& define);

// --config FILE (repeatable), --set a.b=c (repeatable), --dump-config
struct ConfigOptions {
  std::vector<std::string> files, sets;
  bool dump = false;
};
void add_config_options(CLI::App& app, ConfigOptions& options);

std::string version();  // "0.1.0 (git abcdef1)"

}  // namespace mose
