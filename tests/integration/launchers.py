"""Programs of C++ launched by torchrun, whose agent serves the store, and by mpirun; by srun where a Slurm answers."""

import os
import pathlib
import shutil
import subprocess
import sys

try:
    import torch.distributed.run  # noqa: F401
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PROGRAM = pathlib.Path(os.environ["MOSE_BIN"]) / "test_dist"


def launched(*command):
    return subprocess.run(command, capture_output=True, text=True, timeout=300,
                          env={**os.environ, "OMP_NUM_THREADS": "1", "MOSE_TEST_PROCESS": "1"})


def torchrun(processes, *args, restarts=0):
    return launched(sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--max-restarts", str(restarts),
                    "--nproc-per-node", str(processes), PROGRAM, *args)


def mpirun(processes, *args):
    return launched("mpirun", "--allow-run-as-root", "--oversubscribe", "--mca", "plm", "isolated", "-np", str(processes), PROGRAM, "--gtest_color=no", *args)


def srun(processes, *args):
    return launched("srun", "--overcommit", f"--ntasks={processes}", PROGRAM, *args)


def check(done, processes, what):
    output = done.stdout + done.stderr
    passed = output.count("[  PASSED  ] 1 test.")
    if done.returncode != 0 or passed != processes:
        sys.exit(f"FAILED: {what}: exit code {done.returncode}, {passed} of {processes} processes passed:\n{output}")
    print(f"ok      {what}", flush=True)


COLLECTIVES = "--gtest_filter=Worlds/Collectives.EqualPlainLoops/1"
check(torchrun(2, COLLECTIVES), 2, "torchrun: two processes")
check(torchrun(4, "--gtest_filter=Worlds/AnyForm.TrainsAsOneProcessDoesAndResumesAsOne/6"), 4,
      "torchrun: four, with state and experts divided")
# The first attempt fails on one process; the second meets anew in the same store.
check(torchrun(2, "--gtest_filter=Launched.SecondAttemptMeetsAnew", restarts=1), 2, "torchrun: a restart")
check(mpirun(2, COLLECTIVES), 2, "mpirun: two processes")
if shutil.which("srun") and subprocess.run(["sinfo"], capture_output=True).returncode == 0:
    check(srun(2, COLLECTIVES), 2, "srun: two processes")
else:
    print("skipped: srun: no Slurm answers here")
