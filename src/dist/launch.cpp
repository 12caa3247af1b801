#include "mose/dist/launch.h"

#include <charconv>
#include <cstdlib>

#include "mose/core/error.h"
#include "mose/core/strings.h"

namespace mose::dist {
namespace {

// The variables of one launcher, and its name for messages.
class Variables {
 public:
  Variables(const Environment& environment, std::string launcher)
      : environment_(environment), launcher_(std::move(launcher)) {}

  std::string text(const char* name) const {
    const auto value = environment_(name);
    if (!value || value->empty()) throw UsageError(str(launcher_, ": the environment variable ", name, " is not set"));
    return *value;
  }
  int64_t number(const char* name, int64_t low, int64_t high) const {
    const std::string value = text(name);
    int64_t number = 0;
    const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), number);
    if (error != std::errc() || end != value.data() + value.size() || number < low || number > high) {
      throw UsageError(str(launcher_, ": ", name, ": expected a number from ", low, " to ", high, ", found \"", value, "\""));
    }
    return number;
  }
  int64_t number_or(const char* name, int64_t low, int64_t high, int64_t otherwise) const {
    return has(name) ? number(name, low, high) : otherwise;
  }
  bool has(const char* name) const { return environment_(name).value_or("") != ""; }

 private:
  const Environment& environment_;
  std::string launcher_;
};

constexpr int64_t kMaxWorld = 1 << 20;
constexpr int64_t kDefaultPort = 29500;  // torchrun's

Launch ranks(const Variables& v, const char* launcher, const char* rank, const char* world, const char* local) {
  Launch launch;
  launch.launcher = launcher;
  launch.world = v.number(world, 1, kMaxWorld);
  launch.rank = v.number(rank, 0, kMaxWorld);
  if (launch.rank >= launch.world) {
    throw UsageError(str(launcher, ": ", rank, " = ", launch.rank, " contradicts ", world, " = ", launch.world,
                         ": ranks are numbered from 0"));
  }
  launch.local_rank = v.number_or(local, 0, launch.rank, 0);
  return launch;
}

Launch torchrun(const Variables& v) {
  Launch launch = ranks(v, "torchrun", "RANK", "WORLD_SIZE", "LOCAL_RANK");
  if (launch.world == 1) return launch;
  launch.local_rank = v.number("LOCAL_RANK", 0, launch.rank);
  launch.master_address = v.text("MASTER_ADDR");
  launch.master_port = v.number("MASTER_PORT", 1, 65535);
  launch.store_served = v.has("TORCHELASTIC_USE_AGENT_STORE") && v.text("TORCHELASTIC_USE_AGENT_STORE") == "True";
  launch.attempt = v.number_or("TORCHELASTIC_RESTART_COUNT", 0, INT32_MAX, 0);
  return launch;
}

void mpirun_master(Launch& launch, const Variables& v, bool one_host) {
  if (launch.world == 1) return;
  if (!one_host && !v.has("MASTER_ADDR")) {
    throw UsageError(str("mpirun: the processes run on several hosts and MASTER_ADDR is not set; give the host of rank 0 ",
                         "(mpirun -x MASTER_ADDR=..., or -genv MASTER_ADDR ...)"));
  }
  launch.master_address = v.has("MASTER_ADDR") ? v.text("MASTER_ADDR") : "127.0.0.1";
  launch.master_port = v.number_or("MASTER_PORT", 1, 65535, kDefaultPort);
}

Launch open_mpi(const Variables& v) {
  Launch launch = ranks(v, "mpirun", "OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE", "OMPI_COMM_WORLD_LOCAL_RANK");
  mpirun_master(launch, v, v.number_or("OMPI_COMM_WORLD_LOCAL_SIZE", 1, kMaxWorld, 0) == launch.world);
  return launch;
}

Launch hydra(const Variables& v) {
  Launch launch = ranks(v, "mpirun", "PMI_RANK", "PMI_SIZE", "MPI_LOCALRANKID");
  mpirun_master(launch, v, v.number_or("MPI_LOCALNRANKS", 1, kMaxWorld, 0) == launch.world);
  return launch;
}

Launch srun(const Variables& v) {
  Launch launch = ranks(v, "srun", "SLURM_PROCID", "SLURM_STEP_NUM_TASKS", "SLURM_LOCALID");
  if (launch.world == 1) return launch;
  if (v.has("MASTER_ADDR")) {
    launch.master_address = v.text("MASTER_ADDR");
  } else {
    const char* list = v.has("SLURM_STEP_NODELIST") ? "SLURM_STEP_NODELIST" : "SLURM_JOB_NODELIST";
    launch.master_address = expand_host_list(v.text(list)).front();
  }
  // Below the ports that the kernel gives to connections; steps of one job keep apart.
  launch.master_port = v.has("MASTER_PORT") ? v.number("MASTER_PORT", 1, 65535)
                                            : 10000 + (v.number("SLURM_JOB_ID", 0, INT64_MAX / 2) +
                                                       101 * v.number_or("SLURM_STEP_ID", 0, UINT32_MAX, 0)) % 20000;
  return launch;
}

}  // namespace

std::optional<std::string> process_environment(const char* name) {
  const char* value = std::getenv(name);
  return value ? std::optional<std::string>(value) : std::nullopt;
}

Launch read_launch(const Environment& environment) {
  const auto any = [&](std::initializer_list<const char*> names) {
    for (const char* name : names) {
      if (environment(name).value_or("") != "") return true;
    }
    return false;
  };
  if (any({"RANK", "WORLD_SIZE", "LOCAL_RANK"})) return torchrun(Variables(environment, "torchrun"));
  if (any({"OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"})) return open_mpi(Variables(environment, "mpirun"));
  // A batch script of Slurm has SLURM_PROCID too; only what srun starts has the count of the step's tasks.
  if (any({"SLURM_STEP_NUM_TASKS"})) return srun(Variables(environment, "srun"));
  if (any({"PMI_RANK", "PMI_SIZE"})) return hydra(Variables(environment, "mpirun"));
  return {};
}

}  // namespace mose::dist
