"""Programs of C++ launched by torchrun, whose agent serves the store."""

import os
import pathlib
import subprocess
import sys

try:
    import torch.distributed.run  # noqa: F401
except ImportError as error:
    print(f"skipped: {error}")
    sys.exit(77)

PROGRAM = pathlib.Path(os.environ["MOSE_BIN"]) / "test_dist"


def torchrun(processes, *args, restarts=0, **environment):
    return subprocess.run([sys.executable, "-m", "torch.distributed.run", "--no-python", "--standalone", "--max-restarts",
                           str(restarts), "--nproc-per-node", str(processes), PROGRAM, *args], capture_output=True, text=True,
                          timeout=300, env={**os.environ, "OMP_NUM_THREADS": "1", "MOSE_TEST_PROCESS": "1", **environment})


def check(done, processes, what):
    output = done.stdout + done.stderr
    passed = output.count("[  PASSED  ] 1 test.")
    if done.returncode != 0 or passed != processes:
        sys.exit(f"FAILED: {what}: exit code {done.returncode}, {passed} of {processes} processes passed:\n{output}")
    print(f"ok      {what}", flush=True)


check(torchrun(2, "--gtest_filter=Worlds/Collectives.EqualPlainLoops/1"), 2, "two processes")
check(torchrun(4, "--gtest_filter=Worlds/AnyForm.TrainsAsOneProcessDoesAndResumesAsOne/6"), 4, "four, with state and experts divided")
# The first attempt fails on one process; the second meets anew in the same store.
check(torchrun(2, "--gtest_filter=Launched.SecondAttemptMeetsAnew", restarts=1), 2, "a restart")
