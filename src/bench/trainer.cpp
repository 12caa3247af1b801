// What whole training runs cost beside their steps, and what a second process brings: our own program with and without.
#include <algorithm>
#include <filesystem>

#include "bench/session.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

constexpr int64_t kSteps = 16, kCheckpointEvery = 5;  // three checkpoints a run

struct Form {
  int64_t processes = 1, threads = 1;
  Json sets = Json::object();
};

}  // namespace

void bench_trainer(Session& session) {
  const ScratchFolder folder;
  const auto peer = session.start_peer("trainer", session.threads());
  peer->call("prepare", {{"bin", std::filesystem::read_symlink("/proc/self/exe").parent_path().string()}, {"folder", folder.path().string()}});
  const auto work = [&](const Form& form) {
    return [&peer, form] {
      return peer->seconds("run", {{"processes", form.processes}, {"threads", form.threads}, {"steps", kSteps}, {"sets", form.sets}});
    };
  };
  const auto compare = [&](const std::string& name, const Form& ours, const std::string& other, const Form& theirs, const char* what) {
    session.attempt(name, other, [&] {
      Comparison c;
      c.name = name;
      c.shape = str("34 M parameters, ", kSteps, " steps of 4 samples");
      c.ours = work(ours);
      c.sides = {{other, work(theirs)}};
      c.repetitions = 3;  // runs are long
      c.finish = [&](Row& row) { row.more = {{"clock", "wall"}, {what, row.ratio() < 1 ? fixed(100 * (1 - row.ratio()), 1) + " %" : "none"}}; };
      session.compare(c);
    });
  };
  const int64_t threads = session.threads();
  const Form plain{1, threads, Json::object()};
  compare(str("training run, a checkpoint every ", kCheckpointEvery, " steps"), {1, threads, {{"checkpoint_every", kCheckpointEvery}}},
          "ours, without", plain, "share_of_the_step");
  compare("training run, a checkpoint every 5 steps, not beside", {1, threads, {{"checkpoint_every", kCheckpointEvery}, {"checkpoint_beside", false}}},
          "ours, without", plain, "share_of_the_step");
  compare("training run, a line of metrics every step", {1, threads, {{"log_every", 1}}}, "ours, without", plain, "share_of_the_step");
  compare("training run, 2 processes of one thread", {2, 1, Json::object()}, "ours, one process of one thread", {1, 1, Json::object()}, "lost");
}

}  // namespace mose::bench
