"""Adapters trained beside a frozen model: the loss falls, nothing else changes, a killed run resumes bit for bit, and the
adapter merged into its base is the run's model."""

import json
import pathlib
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from runs import BIN, SMOKE, check, json_stages, make_scenes, metrics, model_hash, run as program
from safetensors.numpy import load_file

STEPS = 24


def arguments(data, run, stage, *sets):
    return [BIN / "mose-train", "--quiet", "--config", SMOKE, "--set", f"data.root={data}", "--set",
            "checkpoint_every=5", "--set", "log_every=1", "--set", json_stages([stage]), "--run", run,
            # Every step sees all eight answers, so that the loss falls from step to step.
            "--set", "data.regions=false", "--set", "data.loader.batch_samples=8",
            *(arg for item in sets for arg in ("--set", item))]


def train(*args):
    done = subprocess.run(arguments(*args), capture_output=True, text=True, timeout=500)
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")


def changed(a, b):
    """Names of the tensors that differ, by `mose-model diff`."""
    done = subprocess.run([BIN / "mose-model", "diff", a, b], capture_output=True, text=True, timeout=100)
    check(done.returncode in (0, 1), done.stderr)
    return {line.split("\t")[0] for line in done.stdout.splitlines()}


def merged_is_model(folder, run, stage, base):
    adapter = run / "adapters" / stage
    config = json.loads((adapter / "adapter_config.json").read_text())
    check(config["base_model_name_or_path"] == str(base), f"the adapter's base is {config['base_model_name_or_path']}")
    program("mose-model", "merge", "--model", base, "--adapter", adapter, "--out", folder / f"merged_{stage}", "--quiet")
    check(not changed(folder / f"merged_{stage}", run / "model"), "the adapter merged into its base is not the run's model")


def is_adapted(name):
    return ".language_model.layers." in name and name.endswith("_proj.weight")


def check_from_dense(folder, data, dense):
    """Upcycled at the start of the stage; the projector and the routers train in full beside the adapters."""
    run = folder / "sparse"
    stage = {"name": "tune", "kind": "finetune", "upcycle": "sparse", "steps": 3, "lr": 0.01, "lora": {"rank": 2},
             "trainable": ["model.multi_modal_projector.*", "*.mlp.gate.*"], "loss": {"skill": {"value": 0.1}}}
    train(data, run, stage, f"init_from={dense}")
    base = run / "adapters/tune/base"
    merged_is_model(folder, run, "tune", base)
    trained = {name for name in changed(dense, base) if ".mlp." not in name}  # what upcycling replaced is not compared
    check(trained == {f"model.multi_modal_projector.linear_{i}.{kind}" for i in (1, 2) for kind in ("weight", "bias")}, f"changed: {trained}")
    experts = changed(base, run / "model")
    check(all(map(is_adapted, experts)) and any(".experts.3." in name for name in experts), f"adapted: {sorted(experts)[:5]}")
    return run / "model"


def check_from_sparse(folder, data, base):
    stage = {"name": "adapt", "kind": "finetune", "steps": STEPS, "lr": 0.02, "lora": {"rank": 4, "alpha": 16, "dropout": 0.1}}
    before = model_hash(base)
    run = folder / "whole"
    train(data, run, stage, f"init_from={base}")
    check(model_hash(base) == before, "the base's directory changed")
    check(not (run / "adapters/adapt/base").exists(), "a base was written although it is there")
    merged_is_model(folder, run, "adapt", base)
    check(all(map(is_adapted, changed(base, run / "model"))), "weights without adapters changed")
    losses = [line["loss"] for line in metrics(run) if "validation" not in line]
    first, last = statistics.mean(losses[:4]), statistics.mean(losses[-4:])
    check(last < first - 0.1, f"the loss went from {first:.3f} to {last:.3f}")

    killed = folder / "killed"
    command = [*arguments(data, killed, stage, f"init_from={base}"), "--resume", "auto"]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    while process.poll() is None and not list(killed.glob("checkpoints/step_*5/DONE")):
        time.sleep(0.005)
    process.send_signal(signal.SIGKILL)
    check(process.wait() == -signal.SIGKILL, "the run ended before it could be killed")
    checkpoint = max(killed.glob("checkpoints/step_*[0-9]"))
    check(not changed(checkpoint / "model", base), "a checkpoint's model is not the frozen base")
    state = load_file(checkpoint / "optimizer.safetensors")
    check(state and all(".lora_" in name for name in state), f"optimizer state of more than adapters: {sorted(state)[:3]}")
    done = subprocess.run(command, capture_output=True, text=True, timeout=500)
    check(done.returncode == 0 and model_hash(killed / "model") == model_hash(run / "model"), f"resumed: {done.returncode}, or other weights: {done.stderr}")
    check(metrics(killed) == metrics(run), "the resumed run's metrics differ")
    name = "adapters/adapt/adapter_model.safetensors"
    check((killed / name).read_bytes() == (run / name).read_bytes(), "the resumed run's adapter differs")
    print(f"train_lora: loss {first:.3f} -> {last:.3f}, killed after {checkpoint.name}")


def main():
    with tempfile.TemporaryDirectory(prefix="mose_lora_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 8, 3, 2, 3)
        train(data, folder / "dense", {"name": "dense", "kind": "dense", "steps": 20, "lr": 0.01})
        sparse = check_from_dense(folder, data, folder / "dense/model")
        check_from_sparse(folder, data, sparse)
    print("train_lora: passed")


if __name__ == "__main__":
    sys.exit(main())
