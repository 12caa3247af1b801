"""The official protocol: read out of scripts without running them, pinned, and sent byte for byte."""

import importlib
import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from chat_server import ChatServer, rating  # noqa: E402
from judge_set import NAMES, TASKS, JudgeSet, check, equal, item_of, near, prediction, reference, run, run_tests  # noqa: E402

SCRIPTS = pathlib.Path(__file__).resolve().parents[2] / "fixtures" / "judge_scripts"


def imported(folder):
    file = folder / "protocol.json"
    done = run("protocol", "import", "--from", SCRIPTS, "--out", file)
    equal(done.returncode, 0, f"import: {done.stderr}")
    equal(done.stdout.split()[0], json.loads(file.read_text())["sha256"], "the hash that import prints")
    return file


def scripts_messages():
    """What the scripts themselves would send, by task."""
    sys.dont_write_bytecode = True
    sys.path.insert(0, str(SCRIPTS / "evaluation"))
    stages = [importlib.import_module(f"stage{i}_eval_batch") for i in (1, 3, 2)]
    judges = [stages[0].Judge(), stages[1].Regions(), stages[2].Judge()]
    return {task: judge.create_messages for task, judge in zip(TASKS, judges)}


def test_requests_are_those_of_the_scripts(folder):
    """The body as the openai client writes it: model, messages, temperature, compact, not escaped."""
    protocol = imported(folder)
    data = JudgeSet(folder, 7)
    odd = "{prediction} {} \"quoted\" \\ back\tslash \u00fcn\u00efcode \U0001f6a6\n[The End] Answer to general_perception 1."
    data.write_answers(TASKS[0], {i: odd if i == 1 else prediction(TASKS[0], i) for i in range(1, 8)})
    with ChatServer(lambda asked: rating(5)) as server:
        scores = data.score(server.url, "--protocol", protocol, model="some-model")
        create = scripts_messages()
        known = {1: "vehicle", 5: "traffic_cone", 7: "miscellaneous"}  # the classes of the scripts' own map
        expected = set()
        for task in TASKS:
            for i in range(1, 8):
                if task == TASKS[1] and i not in known:
                    continue
                message = {"reference": reference(task, i), "prediction": odd if (task, i) == (TASKS[0], 1) else prediction(task, i)}
                body = {"model": "some-model", "messages": create[task](message), "temperature": 0}
                expected.add(json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode())
        equal({asked.body for asked in server.asked}, expected, "bodies")
        equal(len(server.asked), len(expected), "requests")
        equal({asked.headers["content-type"] for asked in server.asked}, {"application/json"}, "content type")
    equal(scores["protocol"]["sha256"], json.loads(protocol.read_text())["sha256"], "the protocol that scores.json names")
    equal(scores["comparable"], False, "comparable: these are not the published scripts")


def test_official_arithmetic(folder):
    """Task means over items, regions over objects of the known classes, final over tasks: as the scripts add up."""
    protocol = imported(folder)
    data = JudgeSet(folder, 28)
    value = lambda task, scene: (3 * scene + len(task)) % 10 + 1  # noqa: E731
    with ChatServer(lambda asked: rating(value(*item_of(asked.question)))) as server:
        scores = data.score(server.url, "--protocol", protocol)
    classes = {"car": "vehicle", "traffic_cone": "cone", "dog": "miscellaneous"}
    by_class, means = {}, {}
    for task in TASKS:
        values = []
        for i in range(1, 29):
            category = NAMES[(i - 1) % 7]
            if task == TASKS[1]:
                if category not in classes:
                    continue
                by_class.setdefault(classes[category], []).append(value(task, i))
            values.append(value(task, i))
        means[task] = sum(values) / len(values) * 10
        near(scores["tasks"][task]["official"], means[task], task)
    equal(scores["tasks"][TASKS[1]]["unjudged"], 16, "objects of unknown category")
    equal(set(scores["regions"]), set(by_class), "classes")
    for name, values in by_class.items():
        near(scores["regions"][name]["official"], sum(values) / len(values) * 10, name)
    near(scores["final"], sum(means.values()) / 3, "final")


def test_import_pins_what_it_read(folder):
    protocol = json.loads(imported(folder).read_text())
    equal(sorted(protocol["files"]), sorted(str(f.relative_to(SCRIPTS)) for f in (SCRIPTS / "evaluation").rglob("*.*")
                                            if "__pycache__" not in str(f)), "files")
    copy = folder / "copy"
    shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
    script = copy / "evaluation" / "stage2_eval_batch.py"
    again = lambda: run("protocol", "import", "--from", copy, "--out", folder / "again.json")  # noqa: E731
    equal(again().stdout.split()[0], protocol["sha256"], "the same scripts elsewhere")
    script.write_text("# a comment more\n" + script.read_text())
    equal(again().stdout.split()[0], protocol["sha256"], "a comment changes no score")
    script.write_text(script.read_text().replace("worth.", "worth!"))
    check(again().stdout.split()[0] != protocol["sha256"], "another prompt has the same hash")


def test_scripts_of_another_form_are_refused(folder):
    (folder / "full").mkdir()
    for number, (name, old, new, says) in enumerate([
            ("stage1_eval_batch.py", "self.system_prompt = ", "self.prompt = ", "assigned to self.system_prompt"),
            ("stage1_eval_batch.py", "self.system_prompt = \"", "self.system_prompt = f\"", "assigned to self.system_prompt"),
            ("stage1_eval_batch.py", "def create_messages", "def make_messages", "expected a function create_messages"),
            ("stage1_eval_batch.py", "\\n{}\\n<End>", "<End>", "expected {} twice"),
            ("stage2_eval_batch.py", "low_data[\"response\"]", "low_data[\"reply\"]", "expected message 5 to be assistant"),
            ("stage2_eval_batch.py", "message[\"reference\"], message", "message[\"answer\"], message", "expected message 6 to be user"),
            ("stage2_eval_batch.py", "temperature=0", "temperature=1", "temperature 1, but 0"),
            ("stage3_eval_batch.py", "label_dict = {", "label_map = {", "assigned to label_dict"),
            ("stage3_eval_batch.py", "End with [[n]].\"\"\"", "End with [[n]].", "a string without end"),
            ("scene_few_shot/low.json", "\"response\"", "\"reply\"", "field \"response\" is missing"),
            ("suggestion_few_shot/high.json", "{", "[", "not valid JSON")]):
        copy = folder / str(number)
        shutil.copytree(SCRIPTS, copy, ignore=shutil.ignore_patterns("__pycache__"))
        file = copy / "evaluation" / name
        check(old in file.read_text(), f"{name} lacks {old}")
        file.write_text(file.read_text().replace(old, new))
        done = run("protocol", "import", "--from", copy, "--out", folder / "bad.json")
        equal(done.returncode, 3, f"{old} -> {new}: exit code ({done.stderr})")
        check(says in done.stderr and name in done.stderr, f"{old} -> {new}: {done.stderr}")
        check(not (folder / "bad.json").exists(), "a protocol was written")
    shutil.rmtree(folder / "0" / "evaluation")
    done = run("protocol", "import", "--from", folder / "0", "--out", folder / "bad.json")
    check(done.returncode == 3 and "evaluation" in done.stderr, f"no scripts: {done.returncode} {done.stderr}")


def test_show_prints_every_word(folder):
    text = run("protocol", "show", imported(folder)).stdout
    for part in ("Rate one object.", "A tram crosses {here}.", "Nothing to see \u2014 at all.", "<Reference {1}>", "caf\u00e9",
                 "traffic_cone: traffic_cone", "{reference}"):
        check(part in text, f"{part!r} is not shown")


if __name__ == "__main__":
    sys.exit(run_tests([value for name, value in list(globals().items()) if name.startswith("test_")]))
