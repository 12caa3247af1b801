"""A chat model as annotator of skills, against a server that answers by script: labels in the rules' form, retries, the cache, and
the agreement with the rules and with the sentences labelled by hand."""

import json
import pathlib
import re
import subprocess
import sys
import tempfile

from runs import BIN, ROOT, check

sys.path[:0] = [str(ROOT / "tests/support"), str(ROOT / "scripts")]
import annotator_precision  # noqa: E402
from chat_server import ChatServer, Reply, completion, error  # noqa: E402
from judge_set import environment  # noqa: E402

HAND = [json.loads(line) for line in (ROOT / "tests/data/checked_spans.jsonl").read_text().splitlines()]
TAXONOMY = json.loads((ROOT / "configs/skills/driving.json").read_text())
NAMES = [s["name"] for s in TAXONOMY["skills"]]
STAGE = {s["name"]: s["stage"] for s in TAXONOMY["skills"]}
SKILLS = {sentence: skills.split() for entry in HAND for part in entry.values() for sentence, skills in part}


def sentences_of(asked):
    """[(number, stage, sentence)] that a request asks about, and what it says of skills."""
    text = asked.question
    listed = text[text.index("Sentences:\n"):text.index("\n\nAnswer with")].splitlines()[1:]
    return [(int(n), stage, sentence) for n, stage, sentence in (re.fullmatch(r"(\d+) (?:\[(\w+)\] )?(.*)", line).groups() for line in listed)]


def by_hand(asked):
    """What a person said, but for skills of another stage than the sentence's, which no reply may name."""
    return "\n".join(f"{n}: " + (", ".join(s for s in SKILLS[sentence] if STAGE[s] == stage) or "none") for n, stage, sentence in sentences_of(asked))


def annotate(lines, server, folder, *more, code=0):
    done = subprocess.run([BIN / "mose-data", "annotate", "--quiet", "--with", "chat", "--model", "m", "--base-url", server.url, "--cache",
                           folder / "replies.sqlite", "--retry-delay", "0.02", *map(str, more)],
                          input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True, text=True, timeout=100, check=False, env=environment())
    check(done.returncode == code, f"exit code {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()], done.stderr


def check_labels(folder):
    """Spans are the sentences; stages and rules say where a label is from; the structure's labels stay."""
    lines = [{"answer": "Description:\nA bus stands ahead. It rains.\nPlan:\nSlow down.", "id": 7},
             {"answer": "Caution, a cone. It may fall.", "task": "region_perception", "category": "traffic_cone"}]
    replies = {"A bus stands ahead.": "vehicle, position_lane", "It rains.": "road_weather_visibility", "Slow down.": "longitudinal",
               "Caution, a cone.": "cone_work_zone", "It may fall.": "collision_risk"}
    with ChatServer(lambda asked: Reply(body=completion("\n".join(f"{n}: {replies[s]}" for n, _, s in sentences_of(asked))))) as server:
        found, _ = annotate(lines, server, folder)
        stages = {s: stage for asked in server.asked for _, stage, s in sentences_of(asked)}
        system = server.asked[0].json["messages"][0]["content"]
    check(stages == {"A bus stands ahead.": "describe", "It rains.": "describe", "Slow down.": "plan", "Caution, a cone.": "describe",
                     "It may fall.": "reason"}, f"stages asked: {stages}")
    check("instruction that stands in one of them" in system, system)
    check(found[0]["id"] == 7 and [s["stage"] for s in found[0]["segments"]] == ["describe", "plan"], f"{found[0]}")
    for line, answer in zip(lines, found):
        for label in answer["labels"]:
            text = line["answer"].encode()[label["begin"]:label["end"]].decode()
            if label["rule"] == "chat.m":
                check(label["skill"] in replies[text].split(", ") and STAGE[label["skill"]] == label["stage"] and label["confidence"] == 0.8, f"{label}")
            else:
                check(label["rule"].startswith("struct."), f"{label}")
        mine = {label["skill"] for label in answer["labels"] if label["rule"] == "chat.m"}
        check(mine == {s for text, skills in replies.items() if text in line["answer"] for s in skills.split(", ")}, f"{mine}")
    check(any(label["rule"].startswith("struct.") and label.get("skill") == "region_reference" for label in found[1]["labels"]), f"{found[1]}")


def check_faults_and_cache(folder):
    """A busy server and an unreadable reply are tried again, what stays unreadable is said, and nothing is asked twice."""
    answers = [{"answer": "Plan:\nSlow down."}, {"answer": "Plan:\nStop here."}, {"answer": "Plan:\nTurn left."}]
    tried = []

    def script(asked):
        sentence = sentences_of(asked)[0][2]
        tried.append(sentence)
        count = tried.count(sentence)
        if sentence == "Slow down." and count == 1:
            return error(429, "slow")
        if sentence == "Stop here." and count == 1:
            return Reply(body=completion("1: halting"))
        if sentence == "Turn left.":
            return Reply(body=completion("I would rather not."))
        return Reply(body=completion("1: longitudinal"))

    with ChatServer(script) as server:
        found, said = annotate(answers, server, folder)
        check([tried.count(s) for s in ("Slow down.", "Stop here.", "Turn left.")] == [2, 2, 3], f"tries {tried}")
        check("1 of 3 answers" in said or "problem" in found[2], said)
        check("problem" not in found[0] and "sentence 1 has no line" in found[2]["problem"], f"{found[2]}")
        check(not any(label["rule"].startswith("chat.") for label in found[2]["labels"]), f"{found[2]}")
        asked = len(server.asked)
        again, _ = annotate(answers, server, folder)
        check(again == found and len(server.asked) == asked, "a second run asked again")
        prompt = json.loads((ROOT / "configs/annotators/chat.json").read_text())
        prompt["skills"]["longitudinal"] += "."
        (folder / "prompt.json").write_text(json.dumps(prompt))
        annotate(answers[:2], server, folder, "--prompt", folder / "prompt.json")
        check(len(server.asked) == asked + 2, "another prompt is answered from the cache")
    (folder / "prompt.json").write_text(json.dumps(prompt | {"form": "?"}))
    _, said = annotate(answers, server, folder, "--prompt", folder / "prompt.json", code=3)
    check("prompt.json" in said and "{skills} once" in said, said)


def kappa(a, b):
    """Over pairs of booleans, from the definition."""
    n = len(a)
    observed = sum(x == y for x, y in zip(a, b)) / n
    chance = sum((a.count(v) / n) * (b.count(v) / n) for v in (True, False))
    return None if chance == 1 else (observed - chance) / (1 - chance)


def check_agreement(folder):
    """With the hand's labels as replies: agreement with the rules as computed here, and full agreement with the hand."""
    composed = [annotator_precision.compose(entry) for entry in HAND]
    lines = [{"answer": answer, "task": "scene"} for answer, _ in composed]
    with ChatServer(lambda asked: Reply(body=completion(by_hand(asked)))) as server:
        found, _ = annotate(lines, server, folder, "--agreement", folder / "agreement.json")
        asked = len(server.asked)
        done = subprocess.run([sys.executable, ROOT / "scripts/annotator_precision.py", "--kappa", "--json", folder / "hand.json", "--", "--with", "chat",
                               "--model", "m", "--base-url", server.url, "--cache", folder / "replies.sqlite"], capture_output=True, text=True, timeout=100,
                              env=environment())
        check(done.returncode == 0, done.stderr)
        check(len(server.asked) == asked, "the script asked what the cache holds")
    rules = subprocess.run([BIN / "mose-data", "annotate", "--quiet"], input="".join(json.dumps(line) + "\n" for line in lines), capture_output=True,
                           text=True, check=True).stdout.splitlines()
    pairs = {name: ([], []) for name in NAMES}
    for (_, spans), model, rule in zip(composed, found, map(json.loads, rules)):
        sets = []
        for labels in (model["labels"], rule["labels"]):
            here = [set() for _ in spans]
            for label in labels:
                at = annotator_precision.holder(spans, label) if label.get("skill") else None
                if at is not None:
                    here[at].add(label["skill"])
            sets.append(here)
        for a, b in zip(*sets):
            for name in NAMES:
                pairs[name][0].append(name in a)
                pairs[name][1].append(name in b)
    report = json.loads((folder / "agreement.json").read_text())
    check(report["sentences"] == 301, f"{report['sentences']} sentences")
    for name, (a, b) in pairs.items():
        expected, got = kappa(a, b), report["skills"][name]["kappa"]
        check((expected is None) == (got is None) and (got is None or abs(got - expected) < 1e-9), f"{name}: kappa {got}, expected {expected}")
    flat = [sum((p[i] for p in pairs.values()), []) for i in (0, 1)]
    check(abs(report["kappa"] - kappa(*flat)) < 1e-9 and 0.3 < report["kappa"] < 1, f"{report['kappa']}")
    hand = json.loads((folder / "hand.json").read_text())["all"]
    other_stage = sum(STAGE[s] != {"description": "describe", "reasoning": "reason", "plan": "plan"}[part]
                      for entry in HAND for part in entry for _, skills in entry[part] for s in skills.split())
    check(hand["right"] == hand["labels"] == 395 - other_stage and hand["sentences"] == 395, f"{hand}")
    check(hand["kappa"] > 0.95, f"{hand}")


def main():
    for test in (check_labels, check_faults_and_cache, check_agreement):
        with tempfile.TemporaryDirectory(prefix="mose_chat_annotator_") as folder:
            test(pathlib.Path(folder))
    print("chat_annotator: passed")


if __name__ == "__main__":
    main()
