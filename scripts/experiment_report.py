#!/usr/bin/env python3
"""The report of an experiment, from its kept runs: Markdown with tables of means and intervals, and plots as SVG.

usage: scripts/experiment_report.py RESULTS OUT.md [--plots FOLDER] [--command TEXT] [--keep FOLDER]

  RESULTS  a folder that scripts/experiment.py wrote, or one that --keep filled: experiment.json and kept/*.json
  OUT.md   the report; its plots go to --plots (default: the folder of RESULTS)
  --keep   copies experiment.json, conclusion.md if there is one, and kept/ there first, and reports on the copy

An interval is the mean over seeds +- t(0.975, n - 1) s / sqrt(n); with one seed there is none. Arms are compared seed by
seed (the same seed is the same order of samples), so their difference has an interval of its own. Text for people that
follows from the numbers is in RESULTS/conclusion.md, and is put under "Conclusion".
"""
import argparse
import math
import os
import pathlib
import shutil
import sys

from experiment import BadFile, read
from experiment_plots import curves, dots

# t(0.975) of 1, 2, ... degrees of freedom.
T = [12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262]
# What facts are counted in: stages of drawn scenes' facts, tasks of CODA's categories that answers mention.
PARTS = ("describe", "reason", "plan", "general_perception", "region_perception", "driving_suggestion")
BINS = ((20, "under 20"), (100, "20 to 99"), (500, "100 to 499"), (math.inf, "500 and more"))


def interval(values):
    """Mean and half width (None with fewer than two)."""
    values = [v for v in values if v is not None]
    if not values:
        return None, None
    mean = sum(values) / len(values)
    n = len(values)
    if n < 2:
        return mean, None
    deviation = math.sqrt(sum((v - mean) ** 2 for v in values) / (n - 1))
    return mean, (T[n - 2] if n - 2 < len(T) else 1.96) * deviation / math.sqrt(n)


def cell_text(values, factor=1.0, digits=1):
    mean, half = interval(values)
    if mean is None:
        return "-"
    return f"{factor * mean:.{digits}f}" + ("" if half is None else f" ± {factor * half:.{digits}f}")


def difference_text(values, factor=1.0, digits=1):
    """Bold where the interval does not hold 0."""
    mean, half = interval(values)
    text = cell_text(values, factor, digits)
    return f"**{text}**" if half is not None and abs(mean) > half else text


def f1(counts):
    total = counts["predicted"] + counts["expected"]
    return 2 * counts["right"] / total if total else None


def parts_of(run):
    return [part for part in PARTS if part in run["facts"]]


def by_frequency(run):
    """{bin: F1} of the classes@places that training showed so often, scene words (weather, time) left out."""
    sums = {}
    for name, counts in run["facts"][parts_of(run)[0]]["per_class"].items():
        if name in ("weather", "time"):
            continue
        seen = run["train_counts"].get(name, 0)
        bin_name = next(text for most, text in BINS if seen < most)
        into = sums.setdefault(bin_name, {"right": 0, "predicted": 0, "expected": 0})
        for key in into:
            into[key] += counts[key]
    return {name: f1(counts) for name, counts in sums.items()}


def bins_of(runs):
    filled = {name for run in runs for name in by_frequency(run)}
    return [name for _, name in BINS if name in filled]


def information(layer):
    """Mutual information of a labelled row's skill and its expert, in bits."""
    tokens = layer["skill_tokens"]
    total = sum(tokens)
    if total <= 0:
        return None
    joint = [[n / total * share for share in row] for n, row in zip(tokens, layer["skill_expert"])]
    expert = [sum(column) for column in zip(*joint)]
    return sum(p * math.log2(p / (sum(row) * expert[e])) for row in joint if sum(row) > 0 for e, p in enumerate(row) if p > 0)


def mean_of(values):
    values = [v for v in values if v is not None]
    return sum(values) / len(values) if values else None


def removal(routing):
    """What taking out an expert costs its own skills and the others, in nats a word, rows counting alike; and the share
    of the rows whose skill loses most by one of its own experts. None where no expert was taken out."""
    report = routing.get("removal")
    if not report or report["without"] is None:
        return None
    own, others, hit = [0, 0], [0, 0], [0, 0]
    assignment, rows = routing["assignment"], report["rows"]
    for s, n in enumerate(rows):
        if n <= 0:
            continue
        rises = [without[s] - report["loss"][s] for without in report["without"]]
        for e, rise in enumerate(rises):
            into = own if assignment[s][e] > 0 else others
            into[0] += n * rise
            into[1] += n
        hit[0] += n * (assignment[s][max(range(len(rises)), key=rises.__getitem__)] > 0)
        hit[1] += n
    return {"own": own[0] / own[1], "others": others[0] / others[1] if others[1] else None, "hit": hit[0] / hit[1]}


class Results:
    def __init__(self, folder):
        self.config = read(folder / "experiment.json")
        self.runs = {}
        for file in sorted((folder / "kept").glob("*.json")):
            run = read(file)
            self.runs.setdefault(run["cell"], {})[run["seed"]] = run
        if not self.runs:
            sys.exit(f"experiment_report: {folder / 'kept'} holds no run")

        self.parts = parts_of(run)
        self.drawn = "scenes" in self.config

    def arms(self):
        return [name for name in self.config["arms"] if name in self.runs]

    def label(self, cell):
        return self.config["arms"][cell.split("@")[0]].get("label", cell)

    def values(self, cell, pick):
        return [pick(run) for _, run in sorted(self.runs.get(cell, {}).items())]

    def by_bin(self, cell, bins):
        return [cell_text(self.values(cell, lambda run: by_frequency(run).get(name)), 100) for name in bins]

    def differences(self, cell, other, pick):
        a, b = self.runs.get(cell, {}), self.runs.get(other, {})
        pairs = [(pick(a[s]), pick(b[s])) for s in sorted(a) if s in b]
        return [x - y for x, y in pairs if x is not None and y is not None]


def table(head, rows):
    lines = ["| " + " | ".join(head) + " |", "|---|" + "---:|" * (len(head) - 1)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows]) + "\n"


def fact(stage):
    return lambda run: run["facts"][stage]["f1"]


def margin(stage):
    return lambda run: run["facts"][stage]["f1"] - run["blind_facts"][stage]


def loss(run):
    return run["validation"]["loss_lm"]


def all_facts(run):
    sums = {key: sum(run["facts"][s][key] for s in parts_of(run)) for key in ("right", "predicted", "expected")}
    return f1(sums)


class Report:
    def __init__(self, results, reference, plots, link):
        self.results, self.reference, self.plots, self.link, self.parts = results, reference, plots, link, []

    def add(self, *text):
        self.parts.extend(text)

    def plot(self, name, text, alt):
        (self.plots / f"{name}.svg").write_text(text)
        self.add(f"![{alt}]({self.link}{name}.svg)\n")

    def scores(self):
        r = self.results
        what = "the facts stated" if r.drawn else "CODA's categories that are mentioned, by task,"
        judged = any("judged" in run for cell in r.arms() for run in r.runs[cell].values())
        self.add("## Arms\n", f"F1 in percent of {what} in answers to unseen scenes, the margin over the same model without the "
                 "picture, and the teacher-forced loss of validation answers in nats a word (less is better).\n")
        rows = []
        for cell in r.arms():
            one = next(iter(r.runs[cell].values()))
            rows.append([r.label(cell), str(len(r.runs[cell]))] +
                        [cell_text(r.values(cell, fact(s)), 100) for s in r.parts] +
                        [cell_text(r.values(cell, all_facts), 100),
                         cell_text(r.values(cell, lambda run: mean_of([margin(s)(run) for s in r.parts])), 100)] +
                        ([cell_text(r.values(cell, lambda run: run.get("judged")))] if judged else []) + [
                         cell_text(r.values(cell, lambda run: run["text"]["rouge_l"])),
                         cell_text(r.values(cell, loss), 1, 4),
                         f"{one['activated_parameters'] / 1e6:.2f} M", f"{one['total_parameters'] / 1e6:.2f} M",
                         cell_text(r.values(cell, lambda run: run["train_seconds"]), 1, 0)])
        self.add(table(["arm", "seeds", *r.parts, "all facts", "margin over blind", *(["judge"] if judged else []), "ROUGE-L", "loss",
                        "activated", "total", "training s"], rows))
        self.plot("facts", dots("All facts, F1 in percent", "mean over seeds, 95 % interval",
                                [(r.label(c), *(None if v is None else 100 * v for v in interval(r.values(c, all_facts)))) for c in r.arms()]),
                  "F1 of all facts by arm")
        self.plot("loss", dots("Teacher-forced loss of validation answers", "nats a word, mean over seeds, 95 % interval",
                               [(r.label(c), *interval(r.values(c, loss))) for c in r.arms()]),
                  "validation loss by arm")

    def comparisons(self):
        r, reference = self.results, self.reference
        if reference not in r.runs:
            return
        self.add(f"## Against {r.label(reference)}\n",
                 f"{r.label(reference)} minus the other arm, seed by seed. Where the interval holds 0, the difference cannot be told "
                 "from chance here. In bold: it does not; of twenty differences that are none, one would be bold all the same.\n")
        form = lambda name: r.config["arms"][name].get("form", "single_turn")
        rows = []
        for cell in r.arms():
            if cell == reference:
                continue
            rows.append([r.label(cell)] + [difference_text(r.differences(reference, cell, fact(s)), 100, 1) for s in r.parts] +
                        [difference_text(r.differences(reference, cell, all_facts), 100, 1)] +
                        ([difference_text(r.differences(reference, cell, lambda run: run["novelty"]["held_out"]["score"]), 1, 1)] if r.drawn else []) +
                        [difference_text(r.differences(reference, cell, loss), 1, 4) if form(cell) == form(reference) else "other answers"])
        self.add(table(["other arm", *r.parts, "all facts", *(["scenes with held-out combinations"] if r.drawn else []), "loss"], rows))

    def rarity(self):
        r = self.results
        names = bins_of(run for c in r.arms() for run in r.runs[c].values())
        held = any(run["novelty"] and run["novelty"]["held_out"]["scenes"] for c in r.arms() for run in r.runs[c].values())
        self.add("## Rare situations\n", "Left: F1 in percent of class@place facts, by how often training showed the class. Right: the mean facts "
                 "score (0 to 100) of descriptions, for scenes whose combinations of class, place and weather all may occur in training, "
                 "and for scenes with at least one that never does.\n" if held else
                 f"F1 in percent of {'class@place facts' if r.drawn else 'categories mentioned in general perception'}, by how often training "
                 f"{'showed the class' if r.drawn else 'has an annotated region of the category'}.\n")
        rows = []
        for cell in r.arms():
            row = [r.label(cell)] + r.by_bin(cell, names)
            if held:
                row += [cell_text(r.values(cell, lambda run: run["novelty"][k]["score"])) for k in ("seen", "held_out")]
            rows.append(row)
        self.add(table(["arm"] + [f"{n} times" for n in names] + (["combinations seen", "held out"] if held else []), rows))

    def axes(self):
        r = self.results
        for name, axis in r.config.get("axes", {}).items():
            points, metrics = list(axis["points"]), (("F1 of all facts in percent", all_facts, 100, 1, "facts"),
                                                     ("loss", loss, 1, 4, "loss"))
            found = [(arm, [f"{arm}@{name}={p}" for p in points]) for arm in axis["arms"]]
            found = [(arm, cells) for arm, cells in found if any(c in r.runs for c in cells)]
            if not found:
                continue
            self.add(f"## {axis.get('label', name)}\n")
            reference = axis.get("reference")  # the point that the arms themselves are
            names = points + ([reference] if reference else [])
            for text, pick, factor, digits, key in metrics:
                series = [(r.label(arm), [r.values(c, pick) for c in cells] + ([r.values(arm, pick)] if reference else [])) for arm, cells in found]
                self.add(table([text] + names, [[label] + [cell_text(v, factor, digits) for v in values] for label, values in series]))
                scaled = lambda v: tuple(None if x is None else factor * x for x in interval(v))
                self.plot(f"{name}_{key}", curves(f"{axis.get('label', name)}: {text}", axis.get("label", name), names,
                                                  [(label, [scaled(v) for v in values]) for label, values in series]), f"{text} over {name}")
            self.differences_at(found, points, reference, metrics)
            if any("data.max_scenes" in point.get("set", {}) for point in axis["points"].values()):
                self.rarity_at(found, points)

    def differences_at(self, found, points, reference, metrics):
        r, (first, first_cells), others = self.results, found[0], found[1:]
        if others:
            ends = lambda arm: [arm] if reference else []
            head, names = "other arm", points + ends(reference)
            self.add(f"{r.label(first)} minus the other arm at each point, seed by seed, in bold where the interval does not hold 0:\n")
            pairs = [(f"{r.label(arm)}: ", list(zip(first_cells + ends(first), cells + ends(arm)))) for arm, cells in others]
        elif reference:
            head, names = "", points
            self.add(f"Each point minus {reference}, seed by seed, in bold where the interval does not hold 0:\n")
            pairs = [("", [(cell, first) for cell in first_cells])]
        else:
            return
        self.add(table([head] + names, [[label + text] + [difference_text(r.differences(a, b, pick), factor, digits) for a, b in between]
                                        for label, between in pairs for text, pick, factor, digits, _ in metrics]))

    def rarity_at(self, found, points):
        r = self.results
        bins = bins_of(run for _, cells in found for c in cells for run in r.runs.get(c, {}).values())
        self.add("F1 in percent by how often the training scenes of the point show the class:\n")
        self.add(table(["arm, point"] + [f"{name} times" for name in bins],
                       [[f"{r.label(arm)}, {point}"] + r.by_bin(c, bins) for arm, cells in found for c, point in zip(cells, points)]))

    def routing(self):
        r = self.results
        cells = [c for c in r.arms() if all("routing" in run for run in r.runs[c].values())]
        if not cells:
            return
        self.add("## Inside the routers\n", "On validation answers. Accuracy: the router's most probable skill is the label's. Information: mutual "
                 "information of a row's skill and its experts in bits, mean over sparse layers. Load: the busiest expert's share times "
                 "the number of experts. Before and after are router pretraining's, final is the end of fine-tuning.\n")

        def moment(when, pick):
            return lambda run: None if not run["routing"].get(when) else pick(run["routing"][when])
        skill = lambda m: m["skill_accuracy"]
        bits = lambda m: mean_of([information(layer) for layer in m["layers"]])
        load = lambda m: mean_of([max(layer["expert_load"]) * layer["experts"] for layer in m["layers"]])
        rows = []
        for cell in cells:
            rows.append([r.label(cell)] + [cell_text(r.values(cell, moment(w, skill)), 100) for w in ("before", "after", "final")] +
                        [cell_text(r.values(cell, moment(w, bits)), 1, 2) for w in ("before", "after", "final")] +
                        [cell_text(r.values(cell, moment("final", load)), 1, 2)])
        self.add(table(["arm", "accuracy before", "after", "final", "information before", "after", "final", "load"], rows))
        layers = [layer["layer"] for layer in next(iter(r.runs[cells[0]].values()))["routing"]["final"]["layers"]]
        self.add("Information in bits by sparse layer, at the end:\n", table(
            ["arm"] + [f"layer {n}" for n in layers],
            [[r.label(c)] + [cell_text(r.values(c, lambda run: information(run["routing"]["final"]["layers"][i])), 1, 2)
                             for i in range(len(layers))] for c in cells]))
        with_removal = [c for c in cells if all(removal(run["routing"]) for run in r.runs[c].values())]
        if with_removal:
            self.add("One expert taken out of every sparse layer: the rise of the loss of words predicted from rows of a skill, in nats. Own: "
                     "the expert is assigned to the skill (the assignment that the arm's router would be taught; top-k routers are taught "
                     "none). Hit: share of the rows whose skill loses most by one of its own experts.\n",
                     table(["arm", "own", "others", "hit"], [
                         [r.label(c), cell_text(r.values(c, lambda run: removal(run["routing"])["own"]), 1, 4),
                          cell_text(r.values(c, lambda run: removal(run["routing"])["others"]), 1, 4),
                          cell_text(r.values(c, lambda run: removal(run["routing"])["hit"]), 100, 1)] for c in with_removal]))

    def text(self, command, folder):
        r = self.results
        lines = [f"# {r.config.get('title', 'Experiment')}\n", f"Written by `{command}`; do not edit by hand.\n"]
        lines += [note + "\n" for note in r.config.get("notes", [])]
        count = next(iter(next(iter(r.runs.values())).values()))["train_counts"]
        if r.drawn:
            scenes = r.config["scenes"]
            lines.append(f"Scenes: {scenes['train']} to train on, {scenes['val']} for validation, {scenes['test']} scored; "
                         f"{100 * scenes.get('hold_out', 0):g} % of the combinations of class, place and weather held out of training; class "
                         f"frequencies fall as k^-{scenes.get('tail', 0):g}, from {max(count.values())} to {min(count.values())} occurrences in training.\n")
        else:
            lines.append(f"Data: CODA's form; {len(count)} categories with {max(count.values())} to {min(count.values())} annotated regions each in training.\n")
        conclusion = folder / "conclusion.md"
        if conclusion.exists():
            lines += ["## Conclusion\n", conclusion.read_text().strip() + "\n"]
        wanted = {name: (arm.get("seeds") or len(r.config["seeds"])) for name, arm in r.config["arms"].items()}
        short = [f"{name} ({len(r.runs.get(name, {}))} of {n})" for name, n in wanted.items() if len(r.runs.get(name, {})) < n]
        for name, axis in r.config.get("axes", {}).items():
            cells = [f"{a}@{name}={p}" for a in axis["arms"] for p in axis["points"]]
            have, want = sum(len(r.runs.get(c, {})) for c in cells), len(cells) * (axis.get("seeds") or len(r.config["seeds"]))
            if have < want:
                short.append(f"axis {name} ({have} of {want})")
        if short:
            lines.append("Runs that are missing: " + ", ".join(short) + ".\n")
        return "\n".join(lines + self.parts)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("out", type=pathlib.Path)
    parser.add_argument("--plots", type=pathlib.Path)
    parser.add_argument("--keep", type=pathlib.Path)
    parser.add_argument("--command", default="scripts/experiment_report.py " + " ".join(sys.argv[1:]))
    parser.add_argument("--reference", default="", help="the arm that the others are compared with (default: what the file names, or its first arm)")
    args = parser.parse_args()
    folder = args.results
    if not (folder / "experiment.json").is_file():
        print(f"experiment_report: {folder / 'experiment.json'}: no such file", file=sys.stderr)
        return 2
    if args.keep:
        (args.keep / "kept").mkdir(parents=True, exist_ok=True)
        for file in [folder / "experiment.json", *folder.glob("conclusion.md"), *(folder / "kept").glob("*.json")]:
            shutil.copy(file, args.keep / file.relative_to(folder))
        folder = args.keep
    plots = args.plots or folder
    plots.mkdir(parents=True, exist_ok=True)
    try:
        results = Results(folder)
    except BadFile as error:
        print(f"experiment_report: {error}", file=sys.stderr)
        return 2
    reference = args.reference or results.config.get("reference") or results.arms()[0]
    link = os.path.relpath(plots, args.out.parent)
    report = Report(results, reference, plots, "" if link == "." else link + "/")
    for part in (report.scores, report.comparisons, report.rarity, report.axes, report.routing):
        part()
    args.out.write_text(report.text(args.command, folder))
    print(args.out)
    return 0


if __name__ == "__main__":
    sys.exit(main())
