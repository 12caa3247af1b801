#!/usr/bin/env python3
"""Runs an experiment that a JSON file describes: arms x seeds, and axes of them, through the programs.

usage: scripts/experiment.py CONFIG OUT [--root DIR] [--jobs N] [--only NAME,...] [--threads N] [--list]

  CONFIG   configs/experiments/*.json
  --root   a CODA root to run it on: instead of the file's "data" or its drawn scenes
  --list   checks every recipe that the file makes, shows the cells and stops
  OUT      its folder; calling again goes on where it stopped (done steps are skipped, a half-finished training is resumed)

Draws the scenes (or takes a CODA root), prepares the skill dataset, trains each common base once, then for every cell (an arm, or an arm at a
point of an axis) and seed: training, answers, answers to pictures of the mean colour (the blind control), scores. What a
report needs of each run goes to OUT/kept/, all of it together to OUT/results.json; the report itself is made by
scripts/experiment_report.py. A run that is in OUT/kept/ is done, so a copy of what a report kept (its --keep) goes on too. A step that fails is named with its log; the others go on, and the exit code is 1.

The file: "scenes" (train, val, test, seed, hold_out, tail) or "data" (root: a folder of CODA's form, relative to the
repository), "launch" (words before mose-train, such as torchrun's), "score" (options of mose-eval score), "base" and
"arm" (each "configs" and "set", as mose-train takes them), "predict" (options of mose-infer predict), "seeds",
"arms" {name: label, configs, set, form, seeds, base}, "axes" {name: label, arms, seeds, points {name: set, base}}. A "base" of an arm or point is settings of a base of its own.
"seeds" of an arm or axis is how many of the list it uses.

environment: MOSE_BIN (programs, build/bin)
"""
import argparse
import concurrent.futures
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("MOSE_BIN", ROOT / "build/bin"))


class BadFile(ValueError):
    """A file that does not hold what it should; the message names it."""


def read(path):
    try:
        return json.loads(path.read_text())
    except ValueError as error:
        raise BadFile(f"{path}: expected JSON: {error}") from None


def write(path, value):
    """Whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_text(json.dumps(value, indent=1) + "\n")
    partial.replace(path)


def settings(values):
    return [part for key, value in values.items() for part in ("--set", f"{key}={json.dumps(value)}")]


def usage(message):
    print(f"experiment: {message}", file=sys.stderr)
    sys.exit(2)


class Plan:
    """The cells of an experiment, and the bases that they start from."""

    KEYS = {"title", "notes", "scenes", "data", "launch", "base", "arm", "predict", "score", "seeds", "arms", "axes", "reference", "keep_models"}
    PART_KEYS = {"label", "configs", "set", "form", "seeds", "base", "arms", "points", "reference"}

    def __init__(self, file, root=None):
        config = self.config = read(file)
        self.check(file, config, self.KEYS)
        if root:  # takes the place of what the file names
            config.pop("scenes", None)
            config["data"] = {"root": str(root.resolve())}
        for key in ("base", "arm", "seeds", "arms"):
            if key not in config:
                usage(f"{file}: \"{key}\" is missing")
        if ("scenes" in config) == ("data" in config):
            usage(f"{file}: expected one of \"scenes\" and \"data\", found {'both' if 'data' in config else 'neither'}")
        if "data" in config:
            self.check(f"{file}: data", config["data"], {"root"})
            if "root" not in config["data"]:
                usage(f"{file}: \"data.root\" is missing")
        judges = config.get("score", {}).get("judge", "text").split(",")
        if "text" not in judges:
            usage(f"{file}: score.judge: expected text among them, which the report needs, found {', '.join(judges)}")
        self.bases = {}
        self.cells = {}
        for name, arm in config["arms"].items():
            self.check(f"{file}: arms.{name}", arm, self.PART_KEYS)
            self.add(name, arm, {}, arm.get("seeds"))
        for axis_name, axis in config.get("axes", {}).items():
            where = f"{file}: axes.{axis_name}"
            self.check(where, axis, self.PART_KEYS)
            for point_name, point in axis["points"].items():
                self.check(f"{where}.points.{point_name}", point, self.PART_KEYS)
                for arm_name in axis["arms"]:
                    if arm_name not in config["arms"]:
                        usage(f"{where}: no arm is named \"{arm_name}\"; there are {', '.join(config['arms'])}")
                    self.add(f"{arm_name}@{axis_name}={point_name}", config["arms"][arm_name], point, axis.get("seeds"))

    def root(self):
        """The CODA root of "data", or None: scenes are drawn."""
        return ROOT / self.config["data"]["root"] if "data" in self.config else None

    @staticmethod
    def check(where, part, known):
        for key in part:
            if key not in known:
                usage(f"{where}: unknown key \"{key}\"; there are {', '.join(sorted(known))}")

    def add(self, name, arm, point, seeds):
        base_set = {**arm.get("base", {}), **point.get("base", {})}
        base = next((known for known, values in self.bases.items() if values == base_set), None)
        if base is None:
            base = f"base{len(self.bases) or ''}"
            self.bases[base] = base_set
        all_seeds = self.config["seeds"]
        if (seeds or 0) > len(all_seeds):
            usage(f"{name}: {seeds} seeds are asked for, the list has {len(all_seeds)}")
        self.cells[name] = {
            "configs": self.config["arm"].get("configs", []) + arm.get("configs", []),
            "set": {**self.config["arm"].get("set", {}), **arm.get("set", {}), **point.get("set", {})},
            "form": arm.get("form", "single_turn"),
            "base": base,
            "seeds": all_seeds[:seeds or len(all_seeds)],
        }

    def check_recipes(self):
        """Every base's and cell's configs and settings make a recipe: a slip in one is told before hours of the others."""
        base = self.config["base"]
        parts = {name: (base.get("configs", []), {**base.get("set", {}), **values}) for name, values in self.bases.items()}
        parts |= {name: (cell["configs"], cell["set"]) for name, cell in self.cells.items()}

        def check(part):
            name, (configs, values) = part
            files = [word for file in configs for word in ("--config", ROOT / file)]
            done = subprocess.run([BIN / "mose-train", "--quiet", *files, *settings(values), "--dump-config"], capture_output=True, text=True)
            return f"{name}: {done.stderr.strip()}" if done.returncode else None

        with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
            wrong = list(filter(None, pool.map(check, parts.items())))
        if wrong:
            usage("\n".join(wrong))


class Clock:
    """Says how far the steps are and what is left, by the mean time of the steps of each kind."""

    GUESS = {"scenes": 60, "prepare": 10, "base": 450, "train": 100, "predict": 20, "blind": 20, "score": 3}

    def __init__(self, file, jobs):
        self.file, self.jobs = file, jobs
        self.times = read(file) if file.exists() else {}
        self.left, self.lock = [], threading.Lock()

    def mean(self, kind):
        seen = self.times.get(kind)
        return sum(seen) / len(seen) if seen else self.GUESS[kind]

    def done(self, kind, name, seconds):
        with self.lock:
            if kind in self.left:
                self.left.remove(kind)
            if seconds is not None:
                self.times.setdefault(kind, []).append(round(seconds, 2))
                write(self.file, self.times)
                rest = sum(self.mean(k) for k in self.left) / self.jobs
                print(f"[{time.strftime('%H:%M:%S')}] {name}: {kind}, {seconds:.0f} s; {len(self.left)} steps left, about "
                      f"{rest / 60:.0f} min", flush=True)


class Runner:
    def __init__(self, plan, out, jobs, threads):
        self.plan, self.out = plan, out
        self.coda = plan.root() or out / "coda"
        self.threads = threads or max(1, (os.cpu_count() or 1) // jobs)
        self.clock = Clock(out / "times.json", jobs)
        self.failures, self.stopping = {}, False
        self.processes, self.lock = set(), threading.Lock()

    def program(self, log, *command, launch=()):
        """Runs one program, behind the words of `launch`; what it says goes to `log`. Raises RuntimeError with the log's last line."""
        log.parent.mkdir(parents=True, exist_ok=True)
        with open(log, "ab") as words:
            with self.lock:
                if self.stopping:
                    raise InterruptedError
                process = subprocess.Popen([*launch, BIN / command[0], *map(str, command[1:])], stdout=words, stderr=words,
                                           cwd=ROOT, process_group=0)
                self.processes.add(process)
            code = process.wait()
            self.processes.discard(process)
        if self.stopping:
            raise InterruptedError
        if code:
            last = (log.read_text(errors="replace").strip().splitlines() or ["no word"])[-1]
            raise RuntimeError(f"{command[0]} ended with exit code {code}: {last} (log: {log})")

    def stop(self, *_):
        """Children get the signal once, and the time to write a checkpoint."""
        with self.lock:
            self.stopping = True
        for process in list(self.processes):
            process.terminate()

    def step(self, kind, name, there, work):
        if there.exists():
            return self.clock.done(kind, name, None)
        started = time.time()
        work()
        self.clock.done(kind, name, time.time() - started)

    def guarded(self, name, work):
        try:
            work()
        except InterruptedError:
            pass
        except (RuntimeError, OSError, KeyError, ValueError) as error:
            self.failures[name] = f"{type(error).__name__}: {error}" if not isinstance(error, RuntimeError) else str(error)
            print(f"FAILED {name}: {self.failures[name]}", file=sys.stderr, flush=True)

    def prepare(self):
        coda, data = self.coda, self.out / "data"
        if self.plan.root() is None:
            options = [part for key, value in self.plan.config["scenes"].items() for part in ("--" + key.replace("_", "-"), value)]
            self.step("scenes", "scenes", coda / "scenes.json",
                      lambda: self.program(self.out / "logs/scenes.txt", "mose-data", "scenes", "--quiet", "--out", coda, *options))

        def make_data():
            for split in ("Train", "Val"):
                self.program(self.out / "logs/prepare.txt", "mose-data", "prepare", "--quiet", "--coda", coda, "--split", split,
                             "--out", data)
            (data / "done").touch()
        self.step("prepare", "skill dataset", data / "done", make_data)

    def train(self, log, run, configs, values):
        files = [part for file in configs for part in ("--config", ROOT / file)]
        # A folder with a run goes on; one that ended before its first checkpoint begins again.
        self.program(log, "mose-train", "--quiet", *files, *settings(values), "--run", run, "--resume", "auto",
                     launch=self.plan.config.get("launch", ()))
        shutil.rmtree(run / "checkpoints", ignore_errors=True)

    def base(self, name):
        base, run = self.plan.config["base"], self.out / "runs" / name
        values = {**base.get("set", {}), **self.plan.bases[name], "data.dataset": str(self.out / "data"), "threads": self.threads}
        self.step("base", name, run / "summary.json",
                  lambda: self.train(self.out / f"logs/{name}.txt", run, base.get("configs", []), values))

    def run_of(self, cell, seed):
        return self.out / "runs" / cell / f"s{seed}"

    def kept(self, cell, seed):
        """What a report needs of a run; one that has it is done, wherever its models are."""
        return self.out / "kept" / f"{cell}_s{seed}.json"

    def cell(self, name, seed):
        cell, run, title = self.plan.cells[name], self.run_of(name, seed), f"{name} s{seed}"
        log, coda = self.out / f"logs/{name}_s{seed}.txt", self.coda
        if cell["base"] in self.failures:
            raise RuntimeError(f"its base failed: {self.failures[cell['base']]}")
        values = {**cell["set"], "seed": seed, "data.dataset": str(self.out / "data"), "threads": self.threads,
                  "init_from": str(self.out / "runs" / cell["base"] / "model"), "expert_removal": True}
        self.step("train", title, run / "summary.json", lambda: self.train(log, run, cell["configs"], values))

        predict = [part for key, value in self.plan.config.get("predict", {}).items() for part in (f"--{key}", value)]
        for kind, folder, extra in (("predict", "answers", []), ("blind", "blind", ["--blind"])):
            self.step(kind, title, run / folder / "predict.json",
                      lambda: self.program(log, "mose-infer", "predict", "--quiet", "--model", run / "model", "--coda", coda,
                                           "--split", "Test", "--form", cell["form"], "--threads", self.threads,
                                           "--out", run / folder, *predict, *extra))
        how = {"judge": "facts,text" if (coda / "facts/Test").is_dir() else "text", **self.plan.config.get("score", {})}
        self.step("score", title, run / "scores/scores.json",
                  lambda: self.program(log, "mose-eval", "score", "--quiet", "--coda", coda, "--split", "Test", "--answers",
                                       run / "answers", "--blind-answers", run / "blind", "--out", run / "scores",
                                       *(part for key, value in how.items() for part in (f"--{key}", value))))
        kept = self.kept(name, seed)
        kept.parent.mkdir(parents=True, exist_ok=True)
        write(kept, keep(run, coda, name, seed, values.get("data.max_scenes", 0)))
        if not self.plan.config.get("keep_models", True):
            shutil.rmtree(run / "model", ignore_errors=True)

    def everything(self, only):
        cells = {name: cell for name, cell in self.plan.cells.items() if not only or name in only or name.split("@")[0] in only}
        # All arms come before the axes; within each, seed by seed, so that every cell has its first seed before one has its last.
        rounds = []
        for axes in (False, True):
            part = {name: cell for name, cell in cells.items() if ("@" in name) == axes}
            work = [(seed_at, name, seed) for name, cell in part.items() for seed_at, seed in enumerate(cell["seeds"])
                    if not self.kept(name, seed).exists()]
            rounds.append((sorted({part[name]["base"] for _, name, _ in work}), sorted(work, key=lambda item: item[0])))
        steps = sum(len(work) for _, work in rounds)
        if not steps:
            return cells
        bases = {base for part, _ in rounds for base in part}
        self.clock.left = ((["scenes"] if self.plan.root() is None else []) + ["prepare"] + ["base"] * len(bases) +
                           ["train", "predict", "blind", "score"] * steps)
        self.guarded("scenes", self.prepare)
        if self.failures or self.stopping:
            return cells
        for bases, work in rounds:
            with concurrent.futures.ThreadPoolExecutor(self.clock.jobs) as pool:
                for name in bases:
                    pool.submit(self.guarded, name, lambda name=name: self.base(name))
            with concurrent.futures.ThreadPoolExecutor(self.clock.jobs) as pool:
                for _, name, seed in work:
                    pool.submit(self.guarded, f"{name} s{seed}", lambda name=name, seed=seed: self.cell(name, seed))
        return cells


def class_counts(coda, scenes):
    """How often each class occurs in the first `scenes` training scenes (0 = all): by the facts of drawn scenes, or CODA's
    categories by the annotated regions."""
    drawn, counts = (coda / "facts").is_dir(), {}
    for file in sorted((coda / ("facts/Train" if drawn else "CODA-LM/Train")).glob("*.json"))[:scenes or None]:
        content = read(file)
        names = [thing["class"] for thing in content["objects"]] if drawn else [r["category_name"] for r in content["region_perception"].values()]
        for name in names:
            counts[name] = counts.get(name, 0) + 1
    return counts


def by_novelty(run, coda):
    """The mean facts score of scenes with and without a combination that training never showed; None of data without facts."""
    if not (coda / "facts").is_dir():
        return None
    scores = {"seen": [], "held_out": []}
    for line in (run / "scores/items.jsonl").read_text().splitlines():
        item = json.loads(line)
        if item["task"] != "general_perception" or item["judge"] != "facts" or item["score"] is None:
            continue
        facts = read(coda / f"facts/Test/{item['id']}.json")
        new = any(thing.get("held_out", False) for thing in facts["objects"])
        scores["held_out" if new else "seen"].append(item["score"])
    return {name: {"score": sum(s) / len(s) if s else None, "scenes": len(s)} for name, s in scores.items()}


def short(value):
    """Numbers with six digits: what is kept stays small and can be read."""
    if isinstance(value, float):
        return float(f"{value:.6g}")
    if isinstance(value, list):
        return [short(v) for v in value]
    return {k: short(v) for k, v in value.items()} if isinstance(value, dict) else value


def keep(run, coda, cell, seed, scenes):
    """What the report needs of one run."""
    scores, summary = read(run / "scores/scores.json"), read(run / "summary.json")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    validation = [line for line in lines if line.get("validation")][-1]
    counts = lambda s: {key: s[key] for key in ("f1", "right", "predicted", "expected", "per_class")}
    plain = lambda name: {stage: s["f1"] for stage, s in scores[name].items()}
    if "facts" in scores:
        found = {
            "facts": {stage: counts(s) for stage, s in scores["facts"].items()}, "region_facts": plain("region_facts"),
            "parts": {name: p["f1"] for name, p in scores["facts"]["describe"].get("parts", {}).items()},
            "blind_facts": plain("blind_facts"), "blind_region_facts": plain("blind_region_facts"),
        }
    else:  # the categories that answers mention, by task
        found = {"facts": {task: counts(s["categories"]) for task, s in scores["mentions"].items()},
                 "blind_facts": {task: s["categories"]["f1"] for task, s in scores["blind_mentions"].items()}}
    if scores["judge"].startswith("openai"):
        found["judged"] = scores["final"]
    out = {
        "cell": cell, "seed": seed,
        "validation": {key: value for key, value in validation.items() if key.startswith("loss")},
        **found,
        "text": {key: scores["text"][key] for key in ("rouge_l", "bleu", "cider")},
        "novelty": by_novelty(run, coda),
        "train_counts": class_counts(coda, scenes),
        "activated_parameters": summary["activated_parameters"], "total_parameters": summary["total_parameters"],
        "train_seconds": summary["train_seconds"],
        "predict_seconds": read(run / "answers/predict.json")["seconds"],
    }
    if (run / "routing.json").exists():
        out["routing"] = read(run / "routing.json")
    return short(out)


def collect(plan, out, cells, failures):
    results = {"title": plan.config.get("title", ""), "cells": {}, "failures": failures}
    missing = []
    for name, cell in cells.items():
        results["cells"][name] = {}
        for seed in cell["seeds"]:
            file = out / "kept" / f"{name}_s{seed}.json"
            if file.exists():
                results["cells"][name][str(seed)] = read(file)
            else:
                missing.append(f"{name} s{seed}")
    results["complete"], results["missing"] = not missing, missing
    write(out / "results.json", results)
    return missing


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("config", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--root", type=pathlib.Path, help="a CODA root instead of the file's data")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time, which share the cores")
    parser.add_argument("--threads", type=int, default=0, help="of each run; 0 = the cores divided by the jobs")
    parser.add_argument("--only", default="", help="arms or cells, separated by commas")
    parser.add_argument("--list", action="store_true", help="show the cells and stop")
    args = parser.parse_args()
    if args.jobs < 1:
        usage(f"--jobs: expected at least 1, found {args.jobs}")
    if not args.config.is_file():
        usage(f"{args.config}: no such file")
    plan = Plan(args.config, args.root)
    only = set(filter(None, args.only.split(",")))
    known = set(plan.cells) | set(plan.config["arms"])
    if only - known:
        usage(f"--only: no cell is named {', '.join(sorted(only - known))}; there are {', '.join(sorted(known))}")
    for name in ("mose-data", "mose-train", "mose-infer", "mose-eval"):
        if not (BIN / name).exists():
            usage(f"{BIN / name}: no such program; run scripts/setup.sh, or set MOSE_BIN")
    plan.check_recipes()
    if args.list:
        for name, cell in plan.cells.items():
            print(f"{name}: {len(cell['seeds'])} seeds from {cell['base']}, {cell['form']}")
        return 0
    root = plan.root()
    if root and not (root / "CODA-LM").is_dir():
        usage(f"{root / 'CODA-LM'}: no such folder; expected a CODA root with CODA-LM/<Split> and {{val,test}}/images (--root)")
    out = args.out.resolve()
    out.mkdir(parents=True, exist_ok=True)
    lock = open(out / ".lock", "w")  # held until the process ends
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        usage(f"{out}: another call is at work there")
    known_config = out / "experiment.json"
    source = lambda config: (config.get("scenes"), config.get("data"))
    if known_config.exists() and source(read(known_config)) != source(plan.config):
        usage(f"{out} holds an experiment on other scenes; choose another folder")
    write(known_config, plan.config)
    runner = Runner(plan, out, args.jobs, args.threads)
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, runner.stop)
    cells = runner.everything(only)
    missing = collect(plan, out, cells, runner.failures)
    for name, why in runner.failures.items():
        print(f"failed: {name}: {why}", file=sys.stderr)
    if runner.stopping:
        print(f"stopped; the same command goes on. {len(missing)} runs are missing", file=sys.stderr)
        return 130
    print(f"{out / 'results.json'}: {'complete' if not missing else 'missing: ' + ', '.join(missing)}")
    return 1 if runner.failures or missing else 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except BadFile as error:
        usage(error)
