// Collectives between the processes of a run: one interface over a single process, Gloo and NCCL.
//
//   auto world = make_communicator(read_launch());
//   world->all_reduce(gradient).wait();
//
// Every process calls the same verbs in the same order. Errors: a tensor that does not fit is a mose::Error before
// anything is sent. When another process dies, hangs or ends by an error, whoever waits gets a mose::Error that
// names it ("rank 3 (host n07, process 4711) has not answered for 60 s"); what was under way is given up.
#pragma once

#include <torch/types.h>

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "mose/dist/launch.h"

namespace mose::dist {

// A collective under way. The tensors must live and stay untouched until wait() returns; on a GPU it returns at once
// and orders the current stream after the collective.
class [[nodiscard]] Work {
 public:
  Work() = default;  // nothing to wait for
  explicit Work(std::function<void()> wait) : wait_(std::move(wait)) {}
  void wait() {
    if (auto wait = std::exchange(wait_, nullptr)) wait();
  }

 private:
  std::function<void()> wait_;
};

enum class Reduce { kSum, kMax, kMin };

// Tensors are contiguous, of any type (sums and extremes: floating or integer), on the CPU or, with NCCL, on this
// process's GPU. W is size().
//
// Order of sums. On the CPU element i is x_0[i] + x_1[i] + ... + x_(W-1)[i] in this order, in float32 for shorter
// types with one rounding at the end, wherever the element lies in the tensor: all_reduce and reduce_scatter
// agree bitwise, and W processes that add one part each give what one process gives that accumulates W parts. NCCL's
// order depends on the machine and the size of the tensor; repeated runs agree.
class Communicator {
 public:
  virtual ~Communicator() = default;
  virtual int64_t rank() const = 0;
  virtual int64_t size() const = 0;

  Work all_reduce(torch::Tensor x, Reduce reduce = Reduce::kSum);
  // out [N] = sum over ranks of their in[rank N : rank N + N], in has W N elements. `out` may be that part of `in`,
  // whose other parts then hold nothing of use.
  Work reduce_scatter(torch::Tensor out, torch::Tensor in);
  // out, of W N elements, holds every rank's in [N] in order of ranks; `in` may be this rank's part of `out`.
  Work all_gather(torch::Tensor out, torch::Tensor in);
  // Rows (dimension 0): in_rows[r] of `in` go to rank r, and out_rows[r] of `out` come from rank r, in order.
  // What a rank sends must be what the other expects: exchange the counts first.
  Work all_to_all(torch::Tensor out, torch::Tensor in, std::vector<int64_t> out_rows, std::vector<int64_t> in_rows);
  Work broadcast(torch::Tensor x, int64_t root);
  virtual void barrier() = 0;

  // Ranks of one color form a group of their own, in order of rank. Every rank calls it.
  virtual std::shared_ptr<Communicator> split(int64_t color) = 0;

  // Throws when another process is known to have failed; costs no communication.
  virtual void check() const {}
  // Tells the others why this process stops. What leaves by an exception calls it (see guarded).
  virtual void fail(const std::string& reason) {}

 protected:
  virtual void check_device(const torch::Tensor& x, const char* verb) const = 0;
  virtual Work do_all_reduce(torch::Tensor x, Reduce reduce) = 0;
  virtual Work do_reduce_scatter(torch::Tensor out, torch::Tensor in) = 0;
  virtual Work do_all_gather(torch::Tensor out, torch::Tensor in) = 0;
  virtual Work do_all_to_all(torch::Tensor out, torch::Tensor in, std::vector<int64_t> out_rows,
                             std::vector<int64_t> in_rows) = 0;
  virtual Work do_broadcast(torch::Tensor x, int64_t root) = 0;

 private:
  void check(const torch::Tensor& x, const char* verb, const char* name) const;
};

struct CommunicatorOptions {
  std::string backend = "auto";  // gloo, nccl; auto: nccl where this build and machine have it
  double timeout = 60;           // seconds of silence after which a process counts as dead
  double join_timeout = 300;     // seconds that the processes may take to meet
  // Seconds that a collective may wait for a process that lives but does not come (it reads data, or is stuck).
  double collective_timeout = 1800;
};

// Joins the others; one process needs no network (and uses none, unless it asks for nccl by name). A process joins once:
// a second meeting at the same address can find the first one's server, which is about to end. With NCCL, tensors of the
// GPU `local_rank` go through it and those of the CPU through Gloo. When a process has failed and this one has not noticed
// within `timeout` (at most 10 s), because it hangs in a call that cannot be given up, it ends with exit code 1 and says
// why. UsageError on an unknown backend or one that this build has not; Error when the others do not come.
std::shared_ptr<Communicator> make_communicator(const Launch& launch, const CommunicatorOptions& options = {});

// The largest value of all ranks: how a stop signal or a loss that is not finite becomes known to all in one step.
int64_t agree(Communicator& group, int64_t value);

// Every rank's text, in order of ranks.
std::vector<std::string> gather_texts(Communicator& group, const std::string& text);

// Runs `work`; an exception that leaves it is told to the other processes first.
void guarded(Communicator& group, const std::function<void()>& work);

}  // namespace mose::dist
