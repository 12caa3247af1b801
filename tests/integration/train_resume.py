"""A run killed in the middle of a checkpoint's writing, and resumed, ends with the weights of one left alone."""

import json
import math
import pathlib
import shutil
import signal
import subprocess
import tempfile
import time

from runs import BIN, SMOKE, check, json_stages, make_scenes, metrics, model_hash
from safetensors.numpy import load_file, save_file

KILLS = 3


def recipe_args(data, run):
    return [BIN / "mose-train", "--quiet", "--config", SMOKE, "--set", f"data.root={data}",
            "--set", "checkpoint_every=3", "--set", "log_every=1", "--run", run]


def train(data, run, *more):
    return subprocess.run([*recipe_args(data, run), *more], capture_output=True, text=True, timeout=500)


def kill_while_writing(data, run, skip):
    """Starts (or resumes) the run and kills it as soon as its (skip + 1)-th checkpoint begins to be written."""
    process = subprocess.Popen([*recipe_args(data, run), "--resume", "auto"], stderr=subprocess.DEVNULL)
    seen, deadline = set(), time.time() + 300
    while process.poll() is None and time.time() < deadline:
        seen.update(p.name for p in (run / "checkpoints").glob("*.tmp"))
        if len(seen) > skip:
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    return process.returncode == -signal.SIGKILL


def main():
    with tempfile.TemporaryDirectory(prefix="mose_resume_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 8, 3, 2, 3)

        whole = folder / "whole"
        done = train(data, whole)
        check(done.returncode == 0, f"the undisturbed run ended with {done.returncode}: {done.stderr}")
        last = metrics(whole)[-1]
        check("step" in last and math.isfinite(last["loss"]), f"the last line of metrics.jsonl is {last}")
        routing = json.loads((whole / "routing.json").read_text())
        check(all(routing[m]["layers"] for m in ("before", "after", "final")), "routing.json lacks a moment")

        killed = folder / "killed"
        kills = sum(kill_while_writing(data, killed, skip) for skip in range(KILLS))
        check(kills == KILLS, f"only {kills} of {KILLS} runs were killed while a checkpoint was written")
        done = train(data, killed, "--resume", "auto")
        check(done.returncode == 0, f"the resumed run ended with {done.returncode}: {done.stderr}")
        check(not list((killed / "checkpoints").glob("*.tmp")), "a half-written checkpoint was left behind")
        check(model_hash(killed / "model") == model_hash(whole / "model"), "the resumed run's weights differ from the undisturbed run's")
        check(metrics(killed) == metrics(whole), "the resumed run's metrics differ from the undisturbed run's")

        # SIGTERM ends with a checkpoint and 128 + 15.
        stopped = folder / "stopped"
        process = subprocess.Popen(recipe_args(data, stopped), stderr=subprocess.PIPE, text=True)
        while not (stopped / "metrics.jsonl").exists() or len((stopped / "metrics.jsonl").read_text().splitlines()) < 5:
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        message = process.communicate()[1]
        check(process.returncode == 143, f"SIGTERM ended with {process.returncode}: {message}")
        done = train(data, stopped, "--resume", "auto")
        check(done.returncode == 0 and model_hash(stopped / "model") == model_hash(whole / "model"),
              f"resumed after SIGTERM: exit code {done.returncode}, or other weights: {done.stderr}")

        # A folder that holds a run is not overwritten.
        done = train(data, whole)
        check(done.returncode == 2 and "--resume auto" in done.stderr, f"a second run into one folder: {done.stderr}")

        # A weight that is not a number: exit code 4, a message, and a checkpoint.
        broken = folder / "broken_model"
        shutil.copytree(whole / "model", broken)
        weights = load_file(broken / "model.safetensors")
        weights["model.language_model.norm.weight"][0] = math.nan
        save_file(weights, broken / "model.safetensors")
        diverged = folder / "diverged"
        done = train(data, diverged, "--set", f"init_from={broken}", "--set",
                     json_stages([{"name": "finetune", "kind": "finetune", "steps": 3}]))
        check(done.returncode == 4 and "not finite" in done.stderr, f"divergence ended with {done.returncode}: {done.stderr}")
        check(any((diverged / "checkpoints").glob("step_*/DONE")), "divergence left no checkpoint")
    print("train_resume: passed")


if __name__ == "__main__":
    main()
