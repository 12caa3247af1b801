#!/usr/bin/env python3
"""Precision and recall of an annotator on sentences labelled by hand: of the rules, or of a chat model.

usage: scripts/annotator_precision.py [--data tests/data/checked_spans.jsonl] [--errors] [--kappa] [--json FILE] [-- OPTION ...]

A line of the data is one answer: {"description" | "reasoning" | "plan": [[sentence, "skill skill ..."], ...]}, the skills
that a person says the sentence exercises. The answer, with the headers of the single-turn form, goes through `mose-data
annotate`. A skill label is right when the sentence that holds most of its bytes has that skill; a labelled sentence is
found when some label of the skill lies in it so. --errors lists what is wrong and what is missed, --kappa adds Cohen's kappa of annotator and person over the
sentences. What follows -- goes to mose-data annotate: -- --with chat --model NAME --base-url URL --cache FILE

environment: MOSE_BIN (programs, build/bin)
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
BIN = pathlib.Path(os.environ.get("MOSE_BIN", ROOT / "build/bin"))
HEADERS = {"description": "Description:", "reasoning": "Reasoning:", "plan": "Plan:"}


def compose(entry):
    """The answer, and [begin, end, sentence, skills] in bytes."""
    answer, spans = "", []
    for part, header in HEADERS.items():
        answer += ("\n" if answer else "") + header + "\n"
        for i, (sentence, skills) in enumerate(entry[part]):
            answer += " " if i else ""
            begin = len(answer.encode())
            answer += sentence
            spans.append((begin, len(answer.encode()), sentence, set(skills.split())))
    return answer, spans


def holder(spans, label):
    overlap = [min(end, label["end"]) - max(begin, label["begin"]) for begin, end, *_ in spans]
    best = max(range(len(spans)), key=overlap.__getitem__)
    return best if overlap[best] > 0 else None


def interval(right, total):
    """Wilson's 95 % interval of a share."""
    if not total:
        return None
    z, p = 1.96, right / total
    middle = (p + z * z / (2 * total)) / (1 + z * z / total)
    half = z / (1 + z * z / total) * (p * (1 - p) / total + z * z / (4 * total * total)) ** 0.5
    return [round(middle - half, 4), round(middle + half, 4)]


def kappa(counts, n):
    """Cohen's, of annotator and person over n sentences; None where chance alone would agree on all."""
    said, true, both = counts["said"] / n, counts["sentences"] / n, counts["found"] / n
    chance = said * true + (1 - said) * (1 - true)
    return None if chance >= 1 else round((1 - said - true + 2 * both - chance) / (1 - chance), 4)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=pathlib.Path, default=ROOT / "tests/data/checked_spans.jsonl")
    parser.add_argument("--errors", action="store_true")
    parser.add_argument("--kappa", action="store_true")
    parser.add_argument("--json", type=pathlib.Path)
    parser.add_argument("options", nargs="*", help="of mose-data annotate, after --")
    args = parser.parse_args()
    names = [s["name"] for s in json.loads((ROOT / "configs/skills/driving.json").read_text())["skills"]]
    composed = []
    for number, line in enumerate(args.data.read_text().splitlines(), 1):
        entry = json.loads(line)
        composed.append(compose(entry))
        for *_, sentence, skills in composed[-1][1]:
            if skills - set(names):
                sys.exit(f"{args.data}:{number}: \"{sentence}\": no skill is named {', '.join(skills - set(names))}")
    lines = "".join(json.dumps({"answer": answer, "task": "scene"}) + "\n" for answer, _ in composed)
    done = subprocess.run([BIN / "mose-data", "annotate", "--quiet", *args.options], input=lines, capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr)
    counts = {name: {"right": 0, "labels": 0, "found": 0, "sentences": 0, "said": 0} for name in names}
    for (_, spans), line in zip(composed, done.stdout.splitlines()):
        found = [set() for _ in spans]
        answer = json.loads(line)
        if "problem" in answer:
            sys.exit(f"an answer has no labels: {answer['problem']}")
        for label in answer["labels"]:
            name = label.get("skill")
            at = holder(spans, label) if name else None
            if at is None:
                continue
            right = name in spans[at][3]
            counts[name]["labels"] += 1
            counts[name]["right"] += right
            found[at].add(name)
            if args.errors and not right:
                print(f"wrong  {name:<24}{spans[at][2]}  [{label['rule']}]")
        for (*_, sentence, skills), here in zip(spans, found):
            for name in here:
                counts[name]["said"] += 1
            for name in skills:
                counts[name]["sentences"] += 1
                counts[name]["found"] += name in here
                if args.errors and name not in here:
                    print(f"missed {name:<24}{sentence}")
    total = {key: sum(c[key] for c in counts.values()) for key in ("right", "labels", "found", "sentences", "said")}
    n = sum(len(spans) for _, spans in composed)
    for c in counts.values():
        c["kappa"] = kappa(c, n)
    total["kappa"] = kappa(total, n * len(names))
    result = {"answers": len(composed), "sentences": n, "skills": {}}
    share = lambda a, b: f"{100 * a / b:5.1f} %" if b else "    -  "
    print("| skill | precision | 95 % | labels | recall | sentences |" + (" kappa |" if args.kappa else "") +
          "\n|---|---:|---:|---:|---:|---:|" + ("---:|" if args.kappa else ""))
    for name, c in [*counts.items(), ("all", total)]:
        low_high = interval(c["right"], c["labels"])
        print(f"| {name} | {share(c['right'], c['labels'])} | "
              f"{'-' if not low_high else f'{100 * low_high[0]:.0f} to {100 * low_high[1]:.0f}'} | {c['labels']} | "
              f"{share(c['found'], c['sentences'])} | {c['sentences']} |" +
              ("" if not args.kappa else " - |" if c["kappa"] is None else f" {c['kappa']:.2f} |"))
        result["skills" if name != "all" else "all"] = {**result["skills"], name: {**c, "interval": low_high}} if name != "all" else {**c, "interval": low_high}
    if args.json:
        args.json.write_text(json.dumps(result, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
