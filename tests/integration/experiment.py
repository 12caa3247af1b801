"""The claim's experiment in short, through its command: complete results, a second call that redoes nothing, a failing arm
that is named, the report, and the same on a folder of CODA's form."""

import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree

from runs import ROOT, check, run

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
    check("Each point minus 100 %" in text, "the report does not compare an axis' points")
    broken = folder / "broken"
    shutil.copytree(folder / "kept", broken)
    file = sorted((broken / "kept").glob("*.json"))[0]
    file.write_text(file.read_text()[:300])
    ran = subprocess.run([sys.executable, ROOT / "scripts/experiment_report.py", broken, folder / "broken.md"], capture_output=True, text=True, timeout=60)
    check(ran.returncode == 2 and f"{file}: expected JSON" in ran.stderr and not (folder / "broken.md").exists(), f"a broken file: {ran.stderr}")


def check_kept(out, folder):
    """What a report kept goes on elsewhere: nothing to do where all is there."""
    elsewhere = folder / "elsewhere"
    shutil.copytree(folder / "kept", elsewhere)
    experiment(SHORT, elsewhere)
    check({path.name for path in elsewhere.iterdir()} >= {"kept", "results.json"} and not (elsewhere / "runs").exists(), "kept runs were run again")
    check(json.loads((elsewhere / "results.json").read_text())["cells"] == json.loads((out / "results.json").read_text())["cells"], "other results")


def check_failure(out, config, folder):
    """Done steps stay; the arm that cannot run is named and the others are there."""
    config["arms"] = {"dense": config["arms"]["dense"], "broken": {**config["arms"]["topk"], "set": {"moe.top_k": 99}}}
    config["axes"] = {}
    (folder / "broken.json").write_text(json.dumps(config))
    words = experiment(folder / "broken.json", out, code=1)
    check("failed: broken s1: mose-train ended with exit code 2" in words and "top_k" in words, words)
    results = json.loads((out / "results.json").read_text())
    check(results["missing"] == ["broken s1"] and "1" in results["cells"]["dense"], f"results {results['missing']}")


def check_coda(drawn, config, folder):
    """A user's own data: CODA's folders and nothing else. Categories that answers mention stand in for facts."""
    root, out = folder / "CODA", folder / "coda_out"
    shutil.copytree(drawn, root)
    shutil.rmtree(root / "facts")
    (root / "scenes.json").unlink()
    config["arms"] = {name: config["arms"][name] for name in ("dense", "hierarchical")}
    config["axes"] = {}
    (folder / "both.json").write_text(json.dumps(config | {"data": {"root": str(root)}}))
    check("expected one of" in experiment(folder / "both.json", out, code=2), "scenes and data together are not refused")
    (folder / "coda.json").write_text(json.dumps(config))
    check("no such folder" in experiment(folder / "coda.json", out, "--root", folder / "none", code=2), "a root that is not there")
    experiment(folder / "coda.json", out, "--root", root)
    check(not (out / "coda").exists(), "scenes were drawn")
    results = json.loads((out / "results.json").read_text())
    check(results["complete"], f"{results['missing']}, {results['failures']}")
    regions = [r["category_name"] for file in (root / "CODA-LM/Train").glob("*.json")
               for r in json.loads(file.read_text())["region_perception"].values()]
    for name, seeds in results["cells"].items():
        run = seeds["1"]
        check(set(run["facts"]) == {"general_perception", "region_perception", "driving_suggestion"} == set(run["blind_facts"]), f"{name}: {run['facts']}")
        check(run["facts"]["general_perception"]["expected"] > 0, f"{name}: no category is expected")
        check(run["train_counts"] == {c: regions.count(c) for c in regions}, f"{name}: {run['train_counts']}")
    page = folder / "coda.md"
    subprocess.run([sys.executable, ROOT / "scripts/experiment_report.py", out, page], check=True, capture_output=True, timeout=60)
    text = page.read_text()
    for part in ("CODA's categories that are mentioned", "| arm | seeds | general_perception | region_perception | driving_suggestion |",
                 "annotated region of the category", "## Inside the routers"):
        check(part in text, f"the report has no \"{part}\"")


def check_shipped(folder):
    """Every cell of the shipped experiments is a recipe, and a key that is none is named; the one for real CODA can be reckoned."""
    claim = json.loads((ROOT / "configs/experiments/claim.json").read_text())
    check(len(experiment(ROOT / "configs/experiments/claim.json", "none", "--list").splitlines()) > len(claim["arms"]), "claim.json: cells")
    claim["arms"]["skill"]["set"]["stages.finetune.stepps"] = 3
    (folder / "slip.json").write_text(json.dumps(claim))
    words = experiment(folder / "slip.json", folder / "slip", code=2)
    check("skill: " in words and "stepps" in words and not (folder / "slip").exists(), words)
    file = ROOT / "configs/experiments/coda.json"
    listed = experiment(file, "none", "--list")
    check("hierarchical@scenes=1000: 3 seeds from base1" in listed and "multi_turn: 3 seeds" in listed, listed)
    config = json.loads(file.read_text())
    config["base"]["set"].pop("init_from")  # the user's
    parts = {"base": config["base"]} | {name: {"configs": config["arm"]["configs"] + arm.get("configs", []), "set": config["arm"]["set"] | arm.get("set", {})}
                                        for name, arm in config["arms"].items()}
    for name, part in parts.items():
        words = [w for f in part["configs"] for w in ("--config", ROOT / f)] + [w for k, v in part["set"].items() for w in ("--set", f"{k}={json.dumps(v)}")]
        said = json.loads(run("mose-train", "--quiet", *words, "--estimate", "--json", "--set", "peak_teraflops=989"))
        check(said["seconds"] > 0 and [s["name"] for s in said["stages"]][-1] == ("projector" if name == "base" else "finetune"), f"{name}: {said}")


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
        check_kept(out, folder)
        check_failure(out, config, folder)
        check_coda(out / "coda", json.loads(SHORT.read_text()), folder)
        check_shipped(folder)
    print("experiment: passed")


main()
