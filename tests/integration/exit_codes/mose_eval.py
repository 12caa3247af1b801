"""mose-eval's answers to bad input."""

import json

import coda
from harness import Case

SCORE = ["score", "--coda", "{dir}/CODA", "--split", "Mini", "--answers", "{dir}/answers", "--out", "{dir}/out"]
TEXT = [*SCORE, "--judge", "text"]
SCORES = ["out/scores.json"]


def answers(folder):
    """A good set with one answer file."""
    coda.make(folder)
    (folder / "answers").mkdir()
    row = {"question_id": 1, "image": "val/images/0001.jpg", "question": "?", "answer": "Slow down."}
    (folder / "answers" / "driving_suggestion_answer.jsonl").write_text(json.dumps(row) + "\n")


def answer_file(text):
    def arrange(folder):
        answers(folder)
        (folder / "answers" / "driving_suggestion_answer.jsonl").write_text(text)

    return arrange


def with_set(spoil):
    """Good answers beside a set that `spoil` changed."""

    def arrange(folder):
        answers(folder)
        file = coda.annotation_file(folder / "CODA")
        spoil(folder / "CODA", file)

    return arrange


def full_disk(folder):
    answers(folder)
    coda.full(folder / "out" / "scores.json")


CASES = [
    Case("scores by text overlap", TEXT, 0, arrange=answers, prints=["driving_suggestion"]),
    Case("no options", ["score"], 2, ["--coda"]),
    Case("no such set", TEXT, 3, ["{dir}/CODA"]),
    Case("unknown split", ["Mni" if a == "Mini" else a for a in TEXT], 2, ["Mni", "Mini"], answers, SCORES),
    Case("an empty split", ["Train" if a == "Mini" else a for a in TEXT], 3, ["CODA-LM/Train"], answers, SCORES),
    Case("unknown judge", [*SCORE, "--judge", "txt"], 2, ["txt", "text"], answers, SCORES),
    Case("facts of a set that has none", [*SCORE, "--judge", "facts"], 3, ["CODA/facts/Mini", "--judge text"], answers,
         SCORES),
    Case("no answer file", TEXT, 3, ["{dir}/answers", "driving_suggestion_answer.jsonl"], coda.make, SCORES),
    Case("truncated answers", TEXT, 3, ["driving_suggestion_answer.jsonl:1", "not valid JSON"],
         answer_file('{"question_id": 1, "ima'), SCORES),
    Case("an answer without its image", TEXT, 3, ["driving_suggestion_answer.jsonl:1", '"image" is missing'],
         answer_file('{"question_id": 1, "answer": "x"}\n'), SCORES),
    Case("an answer of a wrong type", TEXT, 3, ["driving_suggestion_answer.jsonl:2", '"answer"', "a string"],
         answer_file('{"question_id": 1, "image": "val/images/0001.jpg", "answer": "x"}\n'
                     '{"question_id": 2, "image": "val/images/0001.jpg", "answer": 3}\n'), SCORES),
    Case("truncated annotation", TEXT, 3, ["val_0001.json", "not valid JSON"],
         with_set(lambda root, file: file.write_text(file.read_text()[:80])), SCORES),
    Case("an annotation without its suggestion", TEXT, 3, ["val_0001.json", "driving_suggestion"],
         with_set(lambda root, file: file.write_text(file.read_text().replace("driving_suggestion", "x"))), SCORES),
    Case("full disk", TEXT, 1, ["scores.json", "No space left on device"], full_disk),
    Case("full disk behind stdout", TEXT, 1, ["standard output"], answers, stdout_to="/dev/full"),
    Case("report of no spec", ["report", "--spec", "{dir}/spec.json", "--out", "{dir}/report.html"], 3,
         ["{dir}/spec.json", "no such file"], untouched=["report.html"]),
    Case("report of a truncated spec", ["report", "--spec", "{dir}/spec.json", "--out", "{dir}/report.html"], 3,
         ["{dir}/spec.json", "not valid JSON"], lambda folder: (folder / "spec.json").write_text('{"arms": [') and None,
         ["report.html"]),
]
