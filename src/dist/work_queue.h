// One thread that runs collectives in the order in which they were asked for, beside the computation.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "dist/watch.h"
#include "mose/dist/communicator.h"

namespace mose::dist {

class WorkQueue {
 public:
  WorkQueue(std::shared_ptr<Watch> watch, double collective_timeout);
  // What still runs is given up: its thread is left behind with what it holds, so that nobody waits for it.
  ~WorkQueue();

  // wait() of the result throws what `run` threw, the failure of another process as soon as it is known, or an
  // Error that names who is late after collective_timeout.
  Work submit(std::string what, std::function<void()> run);

 private:
  struct State;
  std::shared_ptr<State> state_;
};

}  // namespace mose::dist
