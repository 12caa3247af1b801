"""Whole training runs by our own program: what checkpoints and log lines cost, and what a second process brings."""

import json
import os
import pathlib
import shutil
import socket
import subprocess

PACKAGES = []
state = {}
RECIPE = pathlib.Path(__file__).resolve().parents[3] / "configs/recipes/smoke.json"
# 34 M parameters; every sample sees an image of 32 rows and has about 250 rows in all.
LANGUAGE = {"hidden_size": 384, "intermediate_size": 1056, "layers": 8, "heads": 6, "kv_heads": 3,
            "moe": {"experts": 4, "top_k": 2, "router": "skill"}}


def program(*args, **more):
    done = subprocess.run([state["bin"] / args[0], "--quiet", *map(str, args[1:])], capture_output=True, text=True, check=False, **more)
    if done.returncode:
        raise RuntimeError(f"{args[0]}: exit code {done.returncode}: {done.stderr.strip()}")


def prepare(bin, folder):
    state.update(bin=pathlib.Path(bin), folder=pathlib.Path(folder))
    program("mose-data", "scenes", "--out", state["folder"] / "coda", "--train", 48, "--val", 2, "--test", 1, "--seed", 3)
    for split in ("Train", "Val"):
        program("mose-data", "prepare", "--coda", state["folder"] / "coda", "--split", split, "--out", state["folder"] / "data")
    return {}


def run(processes, threads, steps, samples, sets):
    """Seconds a step, of all steps of a run."""
    out = state["folder"] / "run"
    shutil.rmtree(out, ignore_errors=True)
    stage = {"name": "all", "kind": "finetune", "steps": steps, "lr": 1e-4, "accumulate": 2}
    values = {"data.dataset": str(state["folder"] / "data"), "data.loader.batch_samples": samples, "data.max_validation": 1, "model.language": LANGUAGE,
              "stages": [stage], "threads": threads, "log_every": steps, "checkpoint_every": 0, **sets}
    command = [str(state["bin"] / "mose-train"), "--quiet", "--config", str(RECIPE), "--run", str(out),
               *(f"--set={key}={json.dumps(value)}" for key, value in values.items())]
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    environment = dict(os.environ, WORLD_SIZE=str(processes), MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port), OMP_NUM_THREADS=str(threads))
    ranks = [subprocess.Popen(command, env=dict(environment, RANK=str(r), LOCAL_RANK=str(r)), stderr=subprocess.PIPE, text=True)
             for r in range(processes)]
    for rank in ranks:
        said = rank.communicate()[1]
        if rank.returncode:
            raise RuntimeError(f"mose-train: exit code {rank.returncode}: {said.strip()}")
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    return {"seconds": [line for line in lines if not line.get("validation")][-1]["seconds"] / steps}
