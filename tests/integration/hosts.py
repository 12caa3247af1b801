"""The equality tests of src/dist with one process on each of two hosts, and what happens when the cable is pulled."""

import os
import pathlib
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.hosts import Hosts  # noqa: E402

PROGRAM = pathlib.Path(os.environ["MOSE_BIN"]) / "test_dist"
# Each needs two processes: collectives against loops; gradients, state and experts divided, against one process.
TESTS = ["Worlds/Collectives.EqualPlainLoops/1", "Worlds/Reduction.EqualsOneProcessThatAccumulatesTheSameParts/1",
         "Worlds/Sharding.EqualsWholeStateBitForBit/1", "Worlds/AnyForm.TrainsAsOneProcessDoesAndResumesAsOne/3"]


def start(hosts, test, port):
    return [subprocess.Popen(hosts.command(rank, PROGRAM, f"--gtest_filter={test}"), text=True, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, env=hosts.environment(rank, port, MOSE_TEST_PROCESS="1"))
            for rank in range(2)]


def equal(hosts):
    for i, test in enumerate(TESTS):
        for rank, process in enumerate(start(hosts, test, 29600 + i)):
            output = process.communicate(timeout=120)[0]
            if process.returncode != 0 or "[  PASSED  ] 1 test." not in output:
                sys.exit(f"FAILED: {test} on host {rank}:\n{output}")
        print(f"ok      {test}", flush=True)


def cut(hosts):
    processes = start(hosts, "Ranks/AHungProcess.StopsTheOthersWithItsName/0", 29700)  # reduces until something happens
    time.sleep(5)
    for rank, process in enumerate(processes):
        if process.poll() is not None:
            sys.exit(f"FAILED: host {rank} has ended before the cable was pulled:\n{process.communicate()[0]}")
    hosts.cut()
    began = time.monotonic()
    for rank, process in enumerate(processes):
        output = process.communicate(timeout=30)[0]
        if process.returncode != 1 or f"rank {1 - rank} (host " not in output or "has not answered for 2 s" not in output:
            sys.exit(f"FAILED: host {rank}: exit code {process.returncode}:\n{output}")
    print(f"ok      both ended {time.monotonic() - began:.1f} s after the cable was pulled, with the other's name", flush=True)


def main():
    reason = Hosts.missing()
    if reason:
        print(f"skipped: {reason}")
        sys.exit(77)
    with Hosts() as hosts:
        equal(hosts)
        cut(hosts)


main()
