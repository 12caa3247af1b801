#include "mose/core/program.h"

#include <poll.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <iostream>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/signals.h"
#include "mose/core/strings.h"

#ifndef MOSE_GIT
#define MOSE_GIT "unknown"
#endif

namespace mose {

std::string version() { return str(MOSE_VERSION, " (git ", MOSE_GIT, ")"); }

void add_config_options(CLI::App& app, ConfigOptions& options) {
  app.add_option("--config", options.files, "JSON config; may be given again, a later one wins")
      ->group("Config");
  app.add_option("--set", options.sets, "a.b=c, wins over every file; may be given again")
      ->group("Config")
      ->take_all();
  app.add_flag("--dump-config", options.dump, "print the resolved config and stop")->group("Config");
}

namespace {

// Results that did not reach standard output are an error: a full disk behind a redirection must not
// look like success.
void flush_results() {
  errno = 0;
  std::cout.flush();
  if (std::fflush(stdout) == 0 && std::ferror(stdout) == 0 && std::cout) return;
  const int reason = errno;
  pollfd output{STDOUT_FILENO, POLLOUT, 0};
  if (reason == EPIPE || (poll(&output, 1, 0) > 0 && (output.revents & POLLERR) != 0)) {
    throw Error("standard output was closed by its reader", 128 + SIGPIPE);
  }
  throw Error(str("cannot write to standard output: ",
                  reason != 0 ? std::strerror(reason) : "an earlier write failed"));
}

}  // namespace

int run_program(int argc, char** argv, const ProgramInfo& info,
                const std::function<void(CLI::App&)>& define) {
  CLI::App app(info.description, info.name);
  std::string log_level = "info";
  bool quiet = false;
  app.add_option("--log-level", log_level, "trace, debug, info, warn, error or off")
      ->group("General")
      ->capture_default_str();
  app.add_flag("--quiet", quiet, "only warnings and errors on stderr")->group("General");
  app.set_version_flag("--version", [&info] {
    std::string text = str(info.name, " ", version());
    if (info.version_details) text += "\n" + info.version_details();
    return text;
  });
  app.fallthrough();
  app.require_subcommand(0, 1);
  app.parse_complete_callback([&] {
    log::set_level(log_level);
    log::set_quiet(quiet);
  });
  try {
    define(app);
    install_signal_handlers();
    app.parse(argc, argv);
    flush_results();
    return 0;
  } catch (const CLI::RequiredError& e) {
    // CLI11 says that a subcommand is missing even when one was misspelt.
    const std::vector<std::string> unknown = app.remaining(true);
    if (unknown.empty()) return (app.exit(e), static_cast<int>(ExitCode::kUsage));
    std::vector<std::string> names;
    for (const CLI::App* command : app.get_subcommands({})) names.push_back(command->get_name());
    const std::string near = nearest_name(unknown.front(), names);
    std::fprintf(stderr, "%s: unknown argument \"%s\"%s\nRun with --help for more information.\n",
                 info.name.c_str(), unknown.front().c_str(),
                 near.empty() ? "" : str("; did you mean \"", near, "\"?").c_str());
    return static_cast<int>(ExitCode::kUsage);
  } catch (const CLI::ParseError& e) {
    const int code = app.exit(e);
    return code == 0 ? 0 : static_cast<int>(ExitCode::kUsage);
  } catch (const Error& e) {
    std::fprintf(stderr, "%s: %s\n", info.name.c_str(), e.what());
    return e.exit_code();
  } catch (const std::exception& e) {
    std::fprintf(stderr, "%s: unexpected error: %s\n", info.name.c_str(), e.what());
    return static_cast<int>(ExitCode::kRuntime);
  }
}

}  // namespace mose
