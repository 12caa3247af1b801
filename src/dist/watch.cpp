#include "dist/watch.h"

#include <poll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <random>

#include "mose/core/error.h"
#include "mose/core/log.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

std::string random_token() {
  std::random_device device;
  return str(std::hex, device(), device(), device(), device());
}

std::string own_name(int64_t rank) {
  char host[256] = "?";
  gethostname(host, sizeof host - 1);
  return str("rank ", rank, " (host ", host, ", process ", getpid(), ")");
}

}  // namespace

Watch::Watch(const Launch& launch, const CommunicatorOptions& options, const Meeting& meeting)
    : rank_(launch.rank),
      world_(launch.world),
      timeout_(options.timeout),
      interval_(std::min(1.0, options.timeout / 8)),
      wake_(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)),
      names_(static_cast<size_t>(world_)),
      begun_(static_cast<size_t>(world_), 0),
      left_(static_cast<size_t>(world_), false),
      met_(static_cast<size_t>(world_), false) {
  const auto self = static_cast<size_t>(rank_);
  names_[self] = own_name(rank_);
  met_[self] = true;
  if (rank_ == 0) {
    token_ = random_token();
    int64_t port = 0;
    listening_ = listen_anywhere(port);
    meeting.post(Json{{"port", port}, {"token", token_}}.dump());
  } else {
    const Json door = Json::parse(meeting.read());
    peers_.push_back({LineSocket(connect_to(launch.master_address, door.at("port"), options.join_timeout)), 0, Clock::now()});
    outgoing_.push_back({{"token", door.at("token")}, {"rank", rank_}, {"name", names_[self]}});
  }
  thread_ = std::thread([this] { run(); });
  std::unique_lock lock(mutex_);
  const auto all = [&] { return std::find(met_.begin(), met_.end(), false) == met_.end(); };
  changed_.wait_for(lock, std::chrono::duration<double>(options.join_timeout), [&] { return all() || failed_; });
  if (all() && !failed_) return;
  const std::string why = failed_ ? failure_ : str("waited ", options.join_timeout, " s for ", names_where([&](size_t r) { return !met_[r]; }), " of ", world_,
                                                   " processes: not started, or without a way to ", launch.master_address);
  outgoing_.push_back({{"failed", str(name(rank_), " failed: ", why)}});
  stop_ = true;
  lock.unlock();
  thread_.join();
  throw Error(why);
}

Watch::~Watch() {
  {
    const std::lock_guard lock(mutex_);
    outgoing_.push_back({{"left", rank_}});
  }
  stop_ = true;
  wait_until_sent();
  thread_.join();
}

std::string Watch::name(int64_t rank) const {
  const auto& known = names_[static_cast<size_t>(rank)];
  return known.empty() ? str("rank ", rank) : known;
}

void Watch::check() {
  if (!failed_) return;
  noticed_ = true;
  const std::lock_guard lock(mutex_);
  throw Error(failure_);
}

void Watch::fail(const std::string& reason) {
  noticed_ = true;
  if (failed_) return;
  set_failure(str(name(rank_), " failed: ", reason));
  {
    const std::lock_guard lock(mutex_);
    outgoing_.push_back({{"failed", failure_}});
  }
  wait_until_sent();
}

void Watch::explain() {
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::max(std::chrono::duration<double>(0.5), 3 * interval_), [&] { return failed_.load(); });
  lock.unlock();
  check();
}

std::string Watch::names_where(const std::function<bool(size_t rank)>& holds) const {
  std::vector<std::string> names;
  for (int64_t r = 0; r < world_; ++r) {
    if (holds(static_cast<size_t>(r))) names.push_back(name(r));
  }
  return join(names, ", ");
}

std::string Watch::behind() {
  const std::lock_guard lock(mutex_);
  return names_where([&](size_t r) { return static_cast<int64_t>(r) != rank_ && begun_[r] < collectives_; });
}

void Watch::set_failure(const std::string& text) {
  const std::lock_guard lock(mutex_);
  if (failed_) return;
  failure_ = text;
  failed_at_ = Clock::now();
  failed_ = true;
  changed_.notify_all();
}

void Watch::wait_until_sent() {
  const uint64_t one = 1;
  if (write(wake_.get(), &one, sizeof one) < 0) return;
  std::unique_lock lock(mutex_);
  changed_.wait_for(lock, std::chrono::seconds(2), [&] { return outgoing_.empty(); });
}

void Watch::send_all(const Json& message) {
  for (Peer& peer : peers_) {
    if (peer.open && (rank_ != 0 || peer.rank >= 0)) peer.open = peer.socket.write(message.dump(-1, ' ', false, Json::error_handler_t::replace));
  }
}

void Watch::beat() {
  Json counts;
  {
    const std::lock_guard lock(mutex_);
    begun_[static_cast<size_t>(rank_)] = collectives_;
    counts = rank_ == 0 ? Json(begun_) : Json(collectives_.load());
  }
  send_all({{"beat", counts}});
}

void Watch::accept_peers() {
  while (true) {
    Descriptor descriptor = accept_one(listening_);
    if (descriptor.get() < 0) return;
    peers_.push_back({LineSocket(std::move(descriptor)), -1, Clock::now()});
  }
}

// Rank 0 hears {"token", "rank", "name"}; what comes without the token is not of this run. Once all have come,
// it tells everyone their names.
void Watch::introduce(Peer& peer, const Json& message) {
  const int64_t rank = message.value("rank", int64_t{-1});
  if (message.value("token", "") != token_ || rank < 1 || rank >= world_ || met_[static_cast<size_t>(rank)]) {
    peer.open = false;
    return;
  }
  peer.rank = rank;
  bool all = false;
  {
    const std::lock_guard lock(mutex_);
    names_[static_cast<size_t>(rank)] = message.value("name", "");
    met_[static_cast<size_t>(rank)] = true;
    all = std::find(met_.begin(), met_.end(), false) == met_.end();
    if (all) changed_.notify_all();
  }
  if (all) send_all({{"names", names_}});
}

void Watch::hear(Peer& peer, const std::string& line) {
  const Json message = Json::parse(line, nullptr, /*allow_exceptions=*/false);
  if (!message.is_object()) {
    peer.open = false;
    return;
  }
  peer.heard = Clock::now();
  if (peer.rank < 0) return introduce(peer, message);
  if (message.contains("beat")) {
    const std::lock_guard lock(mutex_);
    if (rank_ == 0) {
      begun_[static_cast<size_t>(peer.rank)] = message["beat"];
    } else {
      begun_ = message["beat"].get<std::vector<int64_t>>();
    }
  } else if (message.contains("names")) {
    const std::lock_guard lock(mutex_);
    names_ = message["names"].get<std::vector<std::string>>();
    met_.assign(met_.size(), true);
    changed_.notify_all();
  } else if (message.contains("left")) {
    const std::lock_guard lock(mutex_);
    left_[static_cast<size_t>(message["left"])] = true;
  } else if (message.contains("failed")) {
    set_failure(message["failed"]);
    if (rank_ == 0) send_all(message);
  }
}

void Watch::lost(int64_t rank, const std::string& how) {
  if (left_[static_cast<size_t>(rank)] || failed_) return;
  set_failure(name(rank) + how);
  if (rank_ == 0) send_all({{"failed", failure_}});
}

void Watch::abandon_if_stuck() {
  if (!failed_ || noticed_ || stop_) return;
  if (Clock::now() - failed_at_ < std::min(timeout_, std::chrono::duration<double>(10))) return;
  log::error(failure_, "; this process has not come to its next collective and ends");
  std::_Exit(static_cast<int>(ExitCode::kRuntime));
}

void Watch::run() {
  Clock::time_point beaten{}, stopping{};
  while (true) {
    // The time before the poll: a process that was itself stopped reads what has come before it judges others.
    const auto now = Clock::now();
    std::vector<Json> messages;
    {
      const std::lock_guard lock(mutex_);
      messages.swap(outgoing_);
    }
    for (const Json& message : messages) send_all(message);  // the introduction before the first beat
    if (now - beaten >= interval_) {
      beat();
      beaten = now;
    }
    const bool unsent = std::any_of(peers_.begin(), peers_.end(), [](const Peer& p) { return p.open && p.socket.unsent(); });
    if (!unsent) changed_.notify_all();
    if (stop_ && stopping == Clock::time_point{}) stopping = now;
    if (stop_ && (!unsent || now - stopping > std::chrono::seconds(1))) {
      const std::lock_guard lock(mutex_);
      if (outgoing_.empty()) return;
    }

    std::vector<pollfd> waits = {{wake_.get(), POLLIN, 0}, {listening_.get(), POLLIN, 0}};
    for (const Peer& peer : peers_) {
      waits.push_back({peer.socket.descriptor(), static_cast<short>(POLLIN | (peer.socket.unsent() ? POLLOUT : 0)), 0});
    }
    poll(waits.data(), waits.size(), static_cast<int>(interval_.count() * 1000));
    uint64_t woken = 0;
    while (read(wake_.get(), &woken, sizeof woken) > 0) {
    }
    if (listening_.get() >= 0) accept_peers();
    for (size_t i = 0; i < peers_.size(); ++i) {
      std::vector<std::string> lines;
      const bool open = peers_[i].socket.read(lines);
      try {
        for (const auto& line : lines) hear(peers_[i], line);
      } catch (const Json::exception&) {
        peers_[i].open = false;  // not our words
      }
      peers_[i].open = peers_[i].open && open && peers_[i].socket.flush();
      const Peer& peer = peers_[i];
      if (peer.rank < 0) continue;
      if (!peer.open) {
        lost(peer.rank, " has ended without a word");
      } else if (now - peer.heard > timeout_) {
        lost(peer.rank, str(" has not answered for ", timeout_.count(), " s"));
      }
    }
    std::erase_if(peers_, [](const Peer& peer) { return !peer.open; });
    abandon_if_stuck();
  }
}

}  // namespace mose::dist
