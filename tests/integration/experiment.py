"""The claim's experiment in short, through its command: complete results, a second call that redoes nothing, a failing arm
that is named, and the report."""

import json
import os
import pathlib
import re
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from runs import ROOT, check

SHORT = ROOT / "configs/experiments/claim_short.json"


def experiment(*args, code=0):
    done = subprocess.run([sys.executable, ROOT / "scripts/experiment.py", *map(str, args)], capture_output=True, text=True, timeout=1000)
    check(done.returncode == code, f"experiment {args}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def files(folder):
    return {path: path.stat().st_mtime_ns for path in folder.rglob("*") if path.is_file()}


def check_results(out, config):
    results = json.loads((out / "results.json").read_text())
    check(results["complete"] and not results["failures"], f"results are not complete: {results['missing']}, {results['failures']}")
    cells = set(config["arms"]) | {"hierarchical@labels=30 %"}
    check(set(results["cells"]) == cells, f"cells {sorted(results['cells'])}")
    for name, seeds in results["cells"].items():
        check(list(seeds) == ["1"], f"{name}: seeds {list(seeds)}")
        run = seeds["1"]
        for stage in ("describe", "reason", "plan"):
            check(0 <= run["facts"][stage]["f1"] <= 1 and 0 <= run["blind_facts"][stage] <= 1, f"{name}: facts of {stage}")
        check(run["validation"]["loss_lm"] > 0, f"{name}: validation {run['validation']}")
        novelty = run["novelty"]
        check(novelty["seen"]["scenes"] + novelty["held_out"]["scenes"] == config["scenes"]["test"], f"{name}: novelty {novelty}")
        check(sum(run["train_counts"].values()) >= 2 * config["scenes"]["train"], f"{name}: classes in training {run['train_counts']}")
        check(("routing" in run) == (not name.startswith("dense")), f"{name}: routing")
        if "routing" in run:
            removal = run["routing"]["removal"]
            check(len(removal["without"]) == 8 and sum(removal["rows"]) > 0, f"{name}: removal {removal['rows']}")
    runs = {name: seeds["1"] for name, seeds in results["cells"].items()}
    check(runs["dense_large"]["activated_parameters"] > 1.2 * runs["dense"]["activated_parameters"], "the large dense arm is not large")
    one = runs["hierarchical"]["validation"]
    for other in ("random_labels", "oracle", "topk", "hierarchical@labels=30 %"):
        check(runs[other]["validation"]["loss_lm"] != one["loss_lm"], f"{other} trained as hierarchical did")
    after = {name: runs[name]["routing"]["after"]["skill_accuracy"] for name in ("hierarchical", "random_labels")}
    check(after["hierarchical"] > after["random_labels"], f"random labels teach the router as well as true ones: {after}")


def check_scenes(coda):
    """Held-out combinations occur in Test alone."""
    found = {}
    for split in ("Train", "Val", "Test"):
        found[split] = [thing["held_out"] for file in (coda / "facts" / split).glob("*.json")
                        for thing in json.loads(file.read_text())["objects"]]
    check(not any(found["Train"] + found["Val"]) and found["Train"], f"training scenes hold held-out combinations: {found}")


def check_report(out, folder):
    page = folder / "claim.md"
    (out / "conclusion.md").write_text("What follows from the numbers.\n")
    subprocess.run([sys.executable, ROOT / "scripts/experiment_report.py", out, page, "--keep", folder / "kept"], check=True,
                   capture_output=True, timeout=60)
    text = page.read_text()
    for part in ("## Arms", "## Against Hierarchical skill", "## Rare situations", "## Skill labels kept", "## Inside the routers"):
        check(part in text, f"the report has no \"{part}\"")
    plots = re.findall(r"\]\((.*?\.svg)\)", text)
    check(len(plots) == 4, f"plots {plots}")
    for plot in plots:
        root = xml.etree.ElementTree.parse(folder / plot).getroot()
        check(len(root.findall(".//{*}circle")) >= 2, f"{plot} shows nothing")
    check("What follows from the numbers." in text, "the report leaves the conclusion out")
    check("Runs that are missing" not in text, "the report misses runs")


def check_failure(out, config, folder):
    """Done steps stay; the arm that cannot run is named and the others are there."""
    config["arms"] = {"dense": config["arms"]["dense"], "broken": {**config["arms"]["topk"], "set": {"moe.top_k": 99}}}
    config["axes"] = {}
    (folder / "broken.json").write_text(json.dumps(config))
    words = experiment(folder / "broken.json", out, code=1)
    check("failed: broken s1: mose-train ended with exit code 2" in words and "top_k" in words, words)
    results = json.loads((out / "results.json").read_text())
    check(results["missing"] == ["broken s1"] and "1" in results["cells"]["dense"], f"results {results['missing']}")


def main():
    config = json.loads(SHORT.read_text())
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        out = folder / "out"
        check("no cell is named nonsense" in experiment(SHORT, out, "--only", "nonsense", code=2), "an unknown arm is not named")
        experiment(SHORT, out, "--jobs", max(1, min(2, os.cpu_count() or 1)))
        check_results(out, config)
        check_scenes(out / "coda")
        before = files(out / "runs")
        experiment(SHORT, out)
        check(files(out / "runs") == before, "a second call did something again")
        check_report(out, folder)
        check_failure(out, config, folder)
    print("experiment: passed")


main()
