"""A set in CODA-LM's layout whose texts name their item, answers to it, and mose-eval on them."""

import json
import os
import pathlib
import re
import subprocess

BIN = pathlib.Path(os.environ["MOSE_BIN"])
CATEGORIES = ["vehicles", "vulnerable_road_users", "traffic_signs", "traffic_lights", "traffic_cones", "barriers",
              "other_objects"]
NAMES = ["car", "pedestrian", "traffic_sign", "traffic_light", "traffic_cone", "bollard", "dog"]
TASKS = ["general_perception", "region_perception", "driving_suggestion"]


def reference(task, scene):
    return f"Reference of {task} {scene}: slow down, \"café\"."


def prediction(task, scene):
    return f"Answer to {task} {scene}."


def item_of(question):
    """(task, scene) that a judge's question is about."""
    task, scene = re.search(r"Answer to (\w+) (\d+)\.", question).groups()
    return task, int(scene)


class JudgeSet:
    """`scenes` scenes with one item a task: 3 · scenes items. Scene i's region has category NAMES[(i - 1) % 7]."""

    def __init__(self, folder, scenes):
        self.folder, self.scenes = pathlib.Path(folder), scenes
        self.root, self.answers = self.folder / "CODA", self.folder / "answers"
        split = self.root / "CODA-LM" / "Mini"
        split.mkdir(parents=True)
        for i in range(1, scenes + 1):
            general = {name: [] for name in CATEGORIES}
            general["description and explanation"] = reference(TASKS[0], i)
            region = {"description and explanation": reference(TASKS[1], i), "box": [1, 1, 4, 4],
                      "category_name": NAMES[(i - 1) % len(NAMES)]}
            (split / f"val_{i:04}.json").write_text(json.dumps(
                {"general_perception": general, "region_perception": {"1": region},
                 "driving_suggestion": reference(TASKS[2], i)}))
        self.answers.mkdir()
        for task in TASKS:
            self.write_answers(task, {i: prediction(task, i) for i in range(1, scenes + 1)})

    def write_answers(self, task, texts):
        rows = [{"question_id": i, "image": self.image(task, i), "question": "?", "answer": text} for i, text in texts.items()]
        (self.answers / f"{task}_answer.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    @staticmethod
    def image(task, scene):
        return f"val/images_w_boxes/{scene:04}_object_1.jpg" if task == TASKS[1] else f"val/images/{scene:04}.jpg"

    def input(self):
        return ["--coda", self.root, "--split", "Mini", "--answers", self.answers]

    def score_args(self, url, *more, out="out", model="judge-1"):
        return ["score", *self.input(), "--judge", "openai", "--base-url", url, "--model", model, "--retry-delay", "0.02",
                "--out", self.folder / out, *more]

    def score(self, url, *more, out="out", model="judge-1", **options):
        """scores.json of a run that must succeed."""
        done = run(*self.score_args(url, *more, out=out, model=model), **options)
        check(done.returncode == 0, f"score: exit code {done.returncode}: {done.stderr}")
        return json.loads((self.folder / out / "scores.json").read_text())

    def items(self, out="out"):
        return [json.loads(line) for line in (self.folder / out / "items.jsonl").read_text().splitlines()]


def environment(**more):
    """The process's own without keys and proxies."""
    plain = {name: value for name, value in os.environ.items() if "proxy" not in name.lower() and "API_KEY" not in name}
    return {**plain, **more}


def run(*args, env=None, **options):
    return subprocess.run([BIN / "mose-eval", *map(str, args)], capture_output=True, text=True, timeout=300, check=False,
                          env=env or environment(), **options)


def check(condition, message):
    if not condition:
        raise AssertionError(message)


def equal(found, expected, what):
    check(found == expected, f"{what}: expected {expected}, found {found}")


def near(found, expected, what):
    check(found is not None and abs(found - expected) < 1e-9, f"{what}: expected {expected}, found {found}")


def run_tests(tests):
    """Runs each test function in a folder of its own; says which fail; the exit code."""
    import tempfile
    import traceback

    failed = 0
    for test in tests:
        with tempfile.TemporaryDirectory(prefix="mose_judge_") as folder:
            try:
                test(pathlib.Path(folder))
                print(f"ok      {test.__name__}", flush=True)
            except Exception:
                failed += 1
                print(f"FAILED  {test.__name__}\n{traceback.format_exc()}", flush=True)
    return 1 if failed else 0
