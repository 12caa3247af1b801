#include "bench/session.h"

#include <algorithm>
#include <cstdlib>
#include <thread>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::bench {

ScratchFolder::ScratchFolder() {
  std::string name = (std::filesystem::temp_directory_path() / "mose_bench_XXXXXX").string();
  if (!mkdtemp(name.data())) throw Error(str("cannot make a folder ", name));
  path_ = name;
}

ScratchFolder::~ScratchFolder() {
  std::error_code code;
  std::filesystem::remove_all(path_, code);
}

Session::Session(Options options) : options_(std::move(options)) {
  if (options_.threads == 0) options_.threads = std::max<int64_t>(1, std::thread::hardware_concurrency());
  if (options_.python.empty()) options_.python = default_python();
}

const Limits& Session::limits() {
  if (!limits_) {
    limits_ = std::make_unique<Limits>(measure_limits(threads(), options_.repetitions));
    log::info("this machine on ", threads(), " threads: copies ", fixed(limits_->copy_bytes_per_second / 1e9, 1),
              " GB/s, reads ", fixed(limits_->read_bytes_per_second / 1e9, 1), " GB/s, multiplies at ", fixed(limits_->gemm_flops / 1e9, 0), " GFLOP/s");
  }
  return *limits_;
}

std::unique_ptr<Peer> Session::start_peer(const std::string& module, int64_t threads) {
  auto peer = std::make_unique<Peer>(options_.python, module, threads);
  const Json answer = peer->call("versions");
  for (const Json& version : json_array(answer, "versions", "peer " + module)) add_version(version);
  return peer;
}

void Session::compare(const Comparison& c) {
  std::vector<Work> works;
  for (const Side& side : c.sides) works.push_back(side.work);
  const Timing timing = time_by_turns(c.ours, c.again ? c.again : c.ours, works,
                                       c.repetitions > 0 ? std::min(c.repetitions, options_.repetitions) : options_.repetitions);
  for (size_t i = 0; i < c.sides.size(); ++i) {
    Row row{c.name, c.shape, c.sides[i].peer, 1000 * timing.ours, 1000 * timing.peers[i], timing.noise, {}, Json::object()};
    if (c.finish) c.finish(row);
    log::info(row.name, ", ", row.shape, ", against ", row.peer, ": ", fixed(row.ours_ms, 2), " ms and ", fixed(row.peer_ms, 2),
              " ms, ratio ", fixed(row.ratio(), 2), ", noise ", fixed(100 * row.noise, 1), " %");
    report.rows.push_back(std::move(row));
  }
  if (options_.after_row) options_.after_row(report);
}

bool Session::attempt(const std::string& name, const std::string& peer, const std::function<void()>& work) {
  try {
    work();
    return true;
  } catch (const Interrupted&) {
    throw;
  } catch (const std::exception& error) {
    log::error(name, peer.empty() ? "" : ", against " + peer, ": not compared: ", error.what());
    report.missing.push_back({name, peer, error.what()});
    if (options_.after_row) options_.after_row(report);
    return false;
  }
}

double Session::seconds_left() const {
  return options_.budget_seconds - std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
}

void Session::leave_out(const std::string& name) {
  const std::string reason = str("left out: of ", fixed(options_.budget_seconds, 0), " seconds ", fixed(std::max(0.0, seconds_left()), 0), " are left");
  log::warn(name, ": ", reason);
  report.missing.push_back({name, "", reason, true});
}

void Session::add_version(const std::string& version) {
  auto& list = report.versions;
  if (std::find(list.begin(), list.end(), version) == list.end()) list.push_back(version);
}

}  // namespace mose::bench
