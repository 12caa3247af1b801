// Every process knows when another has died, hangs or has failed.
//
// Each keeps one TCP connection to rank 0 and says over it, from a thread of its own, that it lives, and how
// many collectives it has begun. A closed connection is a dead process, silence a hung one; rank 0 tells all. A process
// that fails says why before it ends. Nothing here waits for the store or for a collective.
#pragma once

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <functional>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "dist/line_socket.h"
#include "mose/core/json.h"
#include "mose/dist/communicator.h"

namespace mose::dist {

class Watch {
 public:
  // How the processes find rank 0's port: through the run's key-value store.
  struct Meeting {
    std::function<void(const std::string& value)> post;
    std::function<std::string()> read;  // waits for it
  };

  // Returns once all have met; Error names those that have not come within join_timeout.
  Watch(const Launch& launch, const CommunicatorOptions& options, const Meeting& meeting);
  ~Watch();  // says goodbye

  void check();                            // throws when a process has failed
  bool failed() const { return failed_; }
  void fail(const std::string& reason);    // this process is the one
  // Throws what is known, or becomes known in a moment, of other processes; returns when that is nothing.
  void explain();
  void began_collective() { ++collectives_; }
  // "rank 2 (host h, process 5)" for every rank that has begun fewer collectives than this one.
  std::string behind();

 private:
  using Clock = std::chrono::steady_clock;
  struct Peer {
    LineSocket socket;
    int64_t rank = -1;  // unknown until it has introduced itself
    Clock::time_point heard;
    bool open = true;
  };

  std::string name(int64_t rank) const;
  std::string names_where(const std::function<bool(size_t rank)>& holds) const;
  void run();
  void beat();
  void accept_peers();
  void hear(Peer& peer, const std::string& line);
  void introduce(Peer& peer, const Json& message);
  void lost(int64_t rank, const std::string& how);
  void set_failure(const std::string& text);
  void send_all(const Json& message);
  void wait_until_sent();
  void abandon_if_stuck();

  const int64_t rank_, world_;
  const std::chrono::duration<double> timeout_, interval_;
  std::string token_;
  Descriptor listening_, wake_;
  std::vector<Peer> peers_;           // rank 0: everyone; others: rank 0 (the thread's, but for the constructor)
  std::vector<Json> outgoing_;        // to be sent by the thread
  std::vector<std::string> names_;    // of all ranks, once they have met
  std::vector<int64_t> begun_;        // collectives, by rank
  std::vector<bool> left_, met_;
  std::string failure_;
  Clock::time_point failed_at_;
  std::atomic<int64_t> collectives_ = 0;
  std::atomic<bool> failed_ = false, noticed_ = false, stop_ = false;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::thread thread_;
};

}  // namespace mose::dist
