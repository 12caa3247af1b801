// Who this process is among those that a launcher started: one process a GPU, or a part of a CPU's cores.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace mose::dist {

struct Launch {
  std::string launcher = "none";   // torchrun, mpirun, srun
  int64_t rank = 0, world = 1;
  int64_t local_rank = 0;          // among the processes of this host: which GPU it takes
  std::string master_address;      // where rank 0 runs; empty with one process
  int64_t master_port = 0;         // of the key-value store through which the processes meet
  bool store_served = false;       // torchrun's agent serves the store, so no rank does
  int64_t attempt = 0;             // torchrun's count of restarts: each meets under keys of its own
};

// The value of an environment variable, nothing where it is not set.
using Environment = std::function<std::optional<std::string>(const char* name)>;
std::optional<std::string> process_environment(const char* name);

// Read from the first of these that is set; a single process when none is.
//   torchrun  RANK, WORLD_SIZE, LOCAL_RANK, MASTER_ADDR, MASTER_PORT, TORCHELASTIC_USE_AGENT_STORE,
//             TORCHELASTIC_RESTART_COUNT (the same variables, set by hand, serve any other launcher)
//   mpirun    Open MPI's OMPI_COMM_WORLD_RANK, _SIZE, _LOCAL_RANK, _LOCAL_SIZE
//   srun      SLURM_PROCID, SLURM_STEP_NUM_TASKS, SLURM_LOCALID; the master is the first host of
//             SLURM_STEP_NODELIST (or SLURM_JOB_NODELIST), its port follows from SLURM_JOB_ID
//   mpirun    of MPICH and Intel MPI: PMI_RANK, PMI_SIZE, MPI_LOCALRANKID
// MASTER_ADDR and MASTER_PORT overrule what srun's says; mpirun needs MASTER_ADDR unless all its processes run
// on one host, and takes port 29500 without MASTER_PORT. UsageError names the variable that is missing,
// malformed or contradicts another.
Launch read_launch(const Environment& environment = process_environment);

// "node[01-03,7],x" -> node01, node02, node03, node7, x (Slurm's form). UsageError on anything else.
std::vector<std::string> expand_host_list(const std::string& list);

}  // namespace mose::dist
