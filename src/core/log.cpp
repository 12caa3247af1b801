#include "mose/core/log.h"

#include <spdlog/sinks/basic_file_sink.h>
#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

#include <mutex>

#include "mose/core/error.h"

namespace mose::log {
namespace {

struct State {
  std::shared_ptr<spdlog::sinks::stderr_color_sink_mt> console =
      std::make_shared<spdlog::sinks::stderr_color_sink_mt>();
  spdlog::logger logger{"mose", console};
  std::mutex mutex;
  bool quiet = false;
  spdlog::level::level_enum level = spdlog::level::info;

  State() {
    console->set_pattern("%H:%M:%S %^%l%$ %v");
    logger.set_level(spdlog::level::trace);
    console->set_level(level);
    logger.flush_on(spdlog::level::info);
  }
};

State& state() {
  static State instance;
  return instance;
}

}  // namespace

void set_level(const std::string& level) {
  const auto value = spdlog::level::from_str(level);
  if (value == spdlog::level::off && level != "off") {
    throw UsageError("--log-level " + level + ": expected trace, debug, info, warn, error or off");
  }
  state().level = value;
  if (!state().quiet) state().console->set_level(value);
}

void set_quiet(bool quiet) {
  state().quiet = quiet;
  state().console->set_level(quiet ? std::max(spdlog::level::warn, state().level) : state().level);
}

bool quiet() { return state().quiet; }

void add_file(const std::filesystem::path& path) {
  try {
    auto sink = std::make_shared<spdlog::sinks::basic_file_sink_mt>(path.string());
    sink->set_pattern("%Y-%m-%d %H:%M:%S %l %v");
    sink->set_level(spdlog::level::debug);
    const std::lock_guard<std::mutex> lock(state().mutex);
    state().logger.sinks().push_back(std::move(sink));
  } catch (const spdlog::spdlog_ex& e) {
    throw Error(str(path.string(), ": cannot open the log file: ", e.what()));
  }
}

void close_files() {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().logger.sinks().resize(1);
}

void write(int level, const std::string& message) {
  const std::lock_guard<std::mutex> lock(state().mutex);
  state().logger.log(static_cast<spdlog::level::level_enum>(level), "{}", message);
}

}  // namespace mose::log
