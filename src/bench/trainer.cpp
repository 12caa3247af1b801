// What whole training runs cost beside their steps, and what a second process brings: our own program with and without.
#include <cmath>
#include <filesystem>

#include "bench/session.h"
#include "mose/core/strings.h"

namespace mose::bench {
namespace {

constexpr int64_t kCheckpointEvery = 5, kCheckpoints = 3;

struct Form {
  int64_t processes = 1, threads = 1;
  Json sets = Json::object();
  int64_t samples = 4, steps = 16;
};

}  // namespace

void bench_trainer(Session& session) {
  const ScratchFolder folder;
  const auto peer = session.start_peer("trainer", session.threads());
  peer->call("prepare", {{"bin", std::filesystem::read_symlink("/proc/self/exe").parent_path().string()}, {"folder", folder.path().string()}});
  const auto work = [&](const Form& form) {
    return [&peer, form] {
      return peer->seconds("run", {{"processes", form.processes}, {"threads", form.threads},
                                   {"steps", form.steps}, {"samples", form.samples}, {"sets", form.sets}});
    };
  };
  const auto compare = [&](const std::string& name, const Form& ours, const std::string& other, const Form& theirs, const char* what) {
    session.attempt(name, other, [&] {
      Comparison c;
      c.name = name;
      c.shape = str("34 M parameters, ", ours.steps, " steps of ", ours.samples, " samples");
      c.ours = work(ours);
      c.sides = {{other, work(theirs)}};
      c.repetitions = 3;  // runs are long
      c.finish = [&](Row& row) {
        row.more = {{"clock", "wall"}, {what, row.ratio() < 1 ? fixed(100 * (1 - row.ratio()), 1) + " %" : "none"}};
        const double cost = (row.ours_ms - row.peer_ms) * static_cast<double>(ours.steps) / kCheckpoints;
        if (ours.sets.contains("checkpoint_every") && cost > 0) {
          row.more["ms_a_checkpoint"] = std::round(cost);
          row.more["under_5_percent_from_every"] = str(std::ceil(cost / (0.05 * row.peer_ms)), " steps");
        }
      };
      session.compare(c);
    });
  };
  const int64_t threads = session.threads();
  const Form plain{1, threads, Json::object()};
  const Json every{{"checkpoint_every", kCheckpointEvery}};
  const std::string name = str("training run, a checkpoint every ", kCheckpointEvery, " steps");
  compare(name, {1, threads, every}, "ours, without", plain, "share_of_the_step");
  compare(name + ", not beside", {1, threads, {{"checkpoint_every", kCheckpointEvery}, {"checkpoint_beside", false}}}, "ours, without", plain,
          "share_of_the_step");
  if (threads > 1) {  // as beside a GPU, where the cores do not compute
    compare(name + ", with a core to spare", {1, threads - 1, every}, "ours, without", {1, threads - 1, Json::object()}, "share_of_the_step");
  }
  compare("training run, a line of metrics every step", {1, threads, {{"log_every", 1}}}, "ours, without", plain, "share_of_the_step");
  for (const auto& [samples, steps] : {std::pair{4, 16}, {16, 5}}) {  // gradients are as large for few samples as for many
    compare("training run, 2 processes of one thread", {2, 1, Json::object(), samples, steps}, "ours, one process of one thread",
            {1, 1, Json::object(), samples, steps}, "lost");
  }
}

}  // namespace mose::bench
