#include "dist/work_queue.h"

#include <deque>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {

struct WorkQueue::State {
  struct Job {
    std::string what;
    std::function<void()> run;
    bool done = false;
    std::exception_ptr error;
  };

  std::shared_ptr<Watch> watch;
  double timeout;
  std::mutex mutex;
  std::condition_variable changed;
  std::deque<std::shared_ptr<Job>> jobs;  // the first one runs
  bool stop = false;
  std::thread thread;

  void run() {
    std::unique_lock lock(mutex);
    while (true) {
      changed.wait(lock, [&] { return stop || !jobs.empty(); });
      if (jobs.empty()) return;
      const auto job = jobs.front();
      lock.unlock();
      std::exception_ptr error;
      try {
        job->run();
      } catch (...) {
        error = std::current_exception();
      }
      lock.lock();
      job->run = nullptr;  // and the tensors it holds
      job->error = error;
      job->done = true;
      jobs.pop_front();
      changed.notify_all();
    }
  }

  void wait(Job& job) {
    const auto begin = std::chrono::steady_clock::now();
    std::unique_lock lock(mutex);
    while (!changed.wait_for(lock, std::chrono::milliseconds(50), [&] { return job.done; })) {
      watch->check();
      if (std::chrono::steady_clock::now() - begin > std::chrono::duration<double>(timeout)) {
        const std::string late = watch->behind();
        fail(str(job.what, " has waited for ", timeout, " s", late.empty() ? "" : " for ", late));
      }
    }
    if (!job.error) return;
    lock.unlock();
    watch->explain();
    try {
      std::rethrow_exception(job.error);
    } catch (const std::exception& e) {
      fail(str(job.what, ": ", e.what()));
    }
  }

  [[noreturn]] void fail(const std::string& why) {
    watch->fail(why);
    throw Error(why);
  }
};

WorkQueue::WorkQueue(std::shared_ptr<Watch> watch, double collective_timeout) : state_(std::make_shared<State>()) {
  state_->watch = std::move(watch);
  state_->timeout = collective_timeout;
  state_->thread = std::thread([state = state_.get()] { state->run(); });
}

WorkQueue::~WorkQueue() {
  bool busy = false;
  {
    const std::lock_guard lock(state_->mutex);
    state_->stop = true;
    busy = !state_->jobs.empty();
    state_->changed.notify_all();
  }
  if (!busy) {
    state_->thread.join();
    return;
  }
  state_->thread.detach();
  static auto& left_behind = *new std::vector<std::shared_ptr<State>>();  // until the process ends
  left_behind.push_back(state_);
}

Work WorkQueue::submit(std::string what, std::function<void()> run) {
  state_->watch->check();
  state_->watch->began_collective();
  const auto job = std::make_shared<State::Job>();
  job->what = std::move(what);
  job->run = std::move(run);
  {
    const std::lock_guard lock(state_->mutex);
    state_->jobs.push_back(job);
    state_->changed.notify_all();
  }
  return Work([state = state_, job] { state->wait(*job); });
}

}  // namespace mose::dist
