"""Ways to run one recipe: recomputation changes no bit, shorter types change little and resume exactly, a dry run keeps
nothing, the best model and milestones stay, what is frozen costs nothing."""

import json
import pathlib
import subprocess
import tempfile

from runs import BIN, SMOKE, check, json_stages, lines_of, make_scenes, model_hash
from safetensors import safe_open


def train(data, run, *more, code=0):
    done = subprocess.run([BIN / "mose-train", "--quiet", "--config", SMOKE, "--set", f"data.root={data}",
                           "--set", "log_every=1", "--run", run, *map(str, more)], capture_output=True, text=True, timeout=500)
    check(done.returncode == code, f"{' '.join(map(str, more))}: exit code {done.returncode}: {done.stderr}")
    return done


def losses(run):
    return [line["loss"] for line in lines_of(run)]


def check_recomputation(folder, data):
    train(data, folder / "recomputed", "--set", "recompute=true")
    check(model_hash(folder / "recomputed/model") == model_hash(folder / "plain/model"), "recomputation changed the weights")


def check_precision(folder, data):
    plain = losses(folder / "plain")
    for precision in ("autocast", "bfloat16"):
        run = folder / precision
        train(data, run, "--set", f"precision={precision}", "--set", "recompute=true", "--set", "checkpoint_every=4")
        found = losses(run)
        off = max(abs(a - b) / max(1, abs(a)) for a, b in zip(plain, found))
        check(len(found) == len(plain) and 1e-6 < off < 0.1, f"{precision}: losses differ by {off:.1e}")
        with safe_open(run / "model/model.safetensors", "np") as file:
            types = {file.get_slice(key).get_dtype() for key in file.keys()}
        check(types == {"BF16" if precision == "bfloat16" else "F32"}, f"{precision}: the model's file holds {types}")
        print(f"{precision}: losses within {off:.1e} of float32", flush=True)
    # From the middle of a stage: master weights and moments are in the checkpoint.
    steps = sorted(int(p.name.removeprefix("step_")) for p in (folder / "bfloat16/checkpoints").glob("step_*"))
    stopped = folder / "stopped"
    train(data, stopped, "--set", "precision=bfloat16", "--set", "checkpoint_every=4", "--set", "keep_checkpoints=100", "--set", "recompute=true")
    for checkpoint in (stopped / "checkpoints").glob("step_*"):
        if int(checkpoint.name.removeprefix("step_")) > steps[-2]:
            subprocess.run(["rm", "-r", checkpoint], check=True)
    train(data, stopped, "--resume", "auto", "--set", "precision=bfloat16", "--set", "recompute=true")
    check(model_hash(stopped / "model") == model_hash(folder / "bfloat16/model"), "bfloat16: resumed, other weights")


def check_dry_run(folder, data):
    report = json.loads(train(data, folder / "dry", "--dry-run").stdout)
    check([s["name"] for s in report["stages"]] == ["projector", "dense", "router", "finetune"], f"{report}")
    check(all(s["seconds"] > 0 for s in report["stages"]) and report["seconds"] > 0 and report["peak_memory_mib"] > 50, f"{report}")
    check("seconds_to_cache" in report["stages"][2], f"{report}")
    check(not list(folder.glob("dry*")), f"a dry run left {list(folder.glob('dry*'))}")


def check_what_stays(folder, data):
    run = folder / "kept"
    train(data, run, "--set", "best=loss_lm", "--set", "validate_every=3", "--set", "checkpoint_every=2", "--set", "keep_checkpoints=1",
          "--set", "milestone_every=6")
    best = min((line for line in lines_of(run) if line.get("validation") and line["stage"] == "finetune"), key=lambda line: line["loss_lm"])
    last = max((run / "checkpoints").glob("step_*"))
    state = json.loads((last / "state.json").read_text())["best"]
    check(state == {"stage": "finetune", "step": best["step"], "value": best["loss_lm"]}, f"best is {state}, not of {best}")
    model_hash(run / "best/model")
    kept = sorted(int(p.name.removeprefix("step_")) for p in (run / "checkpoints").glob("step_*"))
    check(kept[:-1] == [s for s in kept[:-1] if s % 6 == 0] and len(kept) > 2, f"checkpoints kept: {kept}")


def check_reports(folder, data):
    """What a line says of routers, loads and speed, and the answers to held-out questions."""
    run = folder / "reports"
    train(data, run, "--set", "samples=2", "--set", "sample_tokens=6", "--set", "validate_every=6")
    lines = lines_of(run)
    steps = [line for line in lines if not line.get("validation")]
    check(all(0 < line["share_of_peak"] < 1.5 for line in steps if line["stage"] != "router"), "share_of_peak")
    sparse = [line for line in steps if line["stage"] == "finetune"]
    check(sparse and all("expert_load" not in line for line in steps if line["stage"] == "dense"), "expert loads of a dense model")
    for line in sparse:
        check(len(line["expert_load"]) == 2 and all(abs(sum(layer) - 1) < 1e-6 for layer in line["expert_load"]), f"{line}")
        check(0 <= line["skill_accuracy"] <= 1 and 0 <= line["stage_accuracy"] <= 1 and line["dropped"] == 0, f"{line}")
        check(1 <= line["load_of_busiest"] <= 4, f"{line}")
    said = [json.loads(line) for line in (run / "samples.jsonl").read_text().splitlines()]
    check(len(said) == 2 * sum(1 for line in lines if line.get("validation")), f"{len(said)} samples")
    check(all(line["question"] and line["reference"] and len(line["answer"]) < 200 for line in said), f"{said[0]}")
    events = list(run.glob("events.out.tfevents.*"))
    check(len(events) == 1 and b"loss_lm" in events[0].read_bytes(), f"TensorBoard's files: {events}")


def check_frozen_parts(folder, data):
    """What a stage does not train has no optimizer state, and stays as it was."""
    start = folder / "plain/model"
    run = folder / "frozen"
    train(data, run, "--set", f"init_from={start}", "--set", json_stages([{"name": "projector", "kind": "projector", "steps": 3}]),
          "--set", "checkpoint_every=2")
    with safe_open(min((run / "checkpoints").glob("step_*")) / "optimizer.safetensors", "np") as file:
        names = list(file.keys())
    check(names and all("multi_modal_projector" in name for name in names), f"the optimizer holds {names}")
    with safe_open(start / "model.safetensors", "np") as before, safe_open(run / "model/model.safetensors", "np") as after:
        other = {key for key in before.keys() if (before.get_tensor(key) != after.get_tensor(key)).any()}
    check(other and all("multi_modal_projector" in name for name in other), f"a projector stage changed {other}")


def main():
    with tempfile.TemporaryDirectory(prefix="mose_modes_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 8, 3, 2, 3)
        train(data, folder / "plain")
        for test in (check_recomputation, check_precision, check_dry_run, check_what_stays, check_reports, check_frozen_parts):
            test(folder, data)
    print("train_modes: passed")


if __name__ == "__main__":
    main()
