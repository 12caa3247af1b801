"""Joins the scores of the demo's arms into scores.json, writes the report's spec, and prints the table.

usage: demo_scores.py DEMO_DIR SECONDS_SO_FAR
"""
import json
import os
import pathlib
import sys

LABELS = {"skill": "Skill-routed MoE", "topk": "Top-k MoE (balance loss)", "dense": "Dense twin"}


def read(path):
    return json.loads(path.read_text())


def arm_entry(folder):
    scores, summary = read(folder / "scores/scores.json"), read(folder / "summary.json")
    entry = {
        "facts": scores["facts"],
        "blind_facts": scores["blind_facts"],
        "region_facts": scores["region_facts"],
        "text": scores["text"],
        "activated_parameters": summary["activated_parameters"],
        "total_parameters": summary["total_parameters"],
        "train_seconds": summary["train_seconds"],
        "predict_seconds": read(folder / "answers/predict.json")["seconds"],
    }
    routing = folder / "routing.json"
    if routing.exists():
        report = read(routing)
        moments = {name: report.get(name) for name in ("before", "after", "final") if report.get(name)}
        pick = lambda key: {name: m[key] for name, m in moments.items()}
        entry["routing"] = {
            "stage_accuracy": pick("stage_accuracy"),
            "skill_accuracy": pick("skill_accuracy"),
            "assigned_share": pick("assigned_share"),
        }
    return entry


def machine():
    """The processor's name and how many of its cores this machine has."""
    names = [line.split(":", 1)[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return {"processor": names[0] if names else "unknown", "cores": os.cpu_count()}


def main():
    out = pathlib.Path(sys.argv[1])
    arms = {name: arm_entry(out / name) for name in LABELS}
    (out / "scores.json").write_text(json.dumps({
        "comparable": False,
        "comparability": "Facts and text scores on the procedural scenes; not comparable with published CODA-LM scores.",
        "command": "scripts/demo.sh",
        "machine": machine(),
        "seconds_before_report": int(sys.argv[2]),
        "base_train_seconds": read(out / "base/summary.json")["train_seconds"],
        "arms": arms,
    }, indent=2) + "\n")

    spec = {
        "title": "Skill-routed experts on procedural corner cases",
        "subtitle": "Three models of the same activated size, fine-tuned from one dense model on the same samples in the same order.",
        "coda": "coda",
        "split": "Test",
        "notes": [
            "The pictures are drawn by mose-data scenes in CODA-LM's layout; scores are facts found in the answers "
            "against the scene's true facts, and are not comparable with published CODA-LM scores.",
            "Blind: the same model with every picture replaced by the mean colour.",
        ],
        "arms": [
            {
                "name": name,
                "label": LABELS[name],
                "scores": f"{name}/scores/scores.json",
                "runs": ["base", name],
                "answers": f"{name}/answers",
                "blind_answers": f"{name}/blind",
                "activated_parameters": arm["activated_parameters"],
                "total_parameters": arm["total_parameters"],
                "train_seconds": arm["train_seconds"],
                **({"routing": f"{name}/routing.json"} if "routing" in arm else {}),
            }
            for name, arm in arms.items()
        ],
    }
    (out / "report.json").write_text(json.dumps(spec, indent=2) + "\n")

    print(f"\n{'fact F1 (blind)':<26}{'describe':>16}{'reason':>16}{'plan':>16}{'ROUGE-L':>9}{'activated':>12}{'total':>10}")
    for name, arm in arms.items():
        cells = "".join(
            f"{arm['facts'][s]['f1']:>9.3f} ({arm['blind_facts'][s]['f1']:.2f})" for s in ("describe", "reason", "plan"))
        rouge = arm["text"]["general_perception"]["rouge_l"]
        print(f"{LABELS[name]:<26}{cells}{rouge:>9.1f}{arm['activated_parameters'] / 1e6:>10.2f} M{arm['total_parameters'] / 1e6:>8.2f} M")
    routing = arms["skill"]["routing"]
    for key, what in (("stage_accuracy", "stage accuracy"), ("skill_accuracy", "skill accuracy"),
                      ("assigned_share", "top expert assigned to the token's skill")):
        print(f"router, {what}: " + ", ".join(f"{100 * v:.1f} % {when}" for when, v in routing[key].items()))


if __name__ == "__main__":
    main()
