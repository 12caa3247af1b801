"""What the tests of training runs share."""

import json
import os
import pathlib
import socket
import subprocess
import sys

BIN = pathlib.Path(os.environ["MOSE_BIN"])
ROOT = pathlib.Path(__file__).resolve().parents[2]
SMOKE = ROOT / "configs/recipes/smoke.json"
OF_THE_CLOCK = ("second", "memory", "peak")  # in the names of what no two runs share


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def run(program, *args, code=0):
    """Of one of our programs; what it said on stdout and stderr."""
    done = subprocess.run([BIN / program, *map(str, args)], capture_output=True, text=True, timeout=500)
    check(done.returncode == code, f"{program} {' '.join(map(str, args))}: exit code {done.returncode}: {done.stderr}")
    return done.stdout + done.stderr


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def start_processes(world, command, logs=None):
    """A command on `world` processes, as torchrun would start them; what they say on stderr goes to the logs."""
    common = dict(os.environ, WORLD_SIZE=str(world), LOCAL_WORLD_SIZE=str(world), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(free_port()),
                  OMP_NUM_THREADS="1")
    return [subprocess.Popen(list(map(str, command)), env=dict(common, RANK=str(r), LOCAL_RANK=str(r)), stderr=logs[r] if logs else None)
            for r in range(world)]


def make_scenes(folder, train, val, test, seed):
    run("mose-data", "scenes", "--quiet", "--out", folder, "--train", train, "--val", val, "--test", test, "--seed", seed)
    return folder


def json_stages(stages):
    return "stages=" + json.dumps(stages)


def model_hash(model):
    return run("mose-model", "hash", model)


def lines_of(folder):
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]


def metrics(folder):
    """Lines without what depends on the clock."""
    return [{k: v for k, v in line.items() if not any(word in k for word in OF_THE_CLOCK)} for line in lines_of(folder)]
