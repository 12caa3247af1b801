"""mose-eval's answers to bad input."""

import json

import coda
from harness import Case

SCORE = ["score", "--coda", "{dir}/CODA", "--split", "Mini", "--answers", "{dir}/answers", "--out", "{dir}/out"]
TEXT = [*SCORE, "--judge", "text"]
SCORES = ["out/scores.json"]
# Nothing listens on port 9 of this machine.
OPENAI = [*SCORE, "--judge", "openai", "--base-url", "http://127.0.0.1:9/v1", "--attempts", "1"]
MODEL = [*OPENAI, "--model", "m"]
RECORDED = [*SCORE, "--judge", "recorded"]
BATCH = ["--coda", "{dir}/CODA", "--split", "Mini", "--answers", "{dir}/answers", "--cache", "{dir}/cache.sqlite"]


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


def protocol(text):
    """Good answers and a protocol file."""

    def arrange(folder):
        answers(folder)
        (folder / "protocol.json").write_text(text)

    return arrange


def damaged_cache(folder):
    answers(folder)
    (folder / "cache.sqlite").write_bytes(b"this was a database once" * 400)


def file_of(name, text):
    def arrange(folder):
        answers(folder)
        (folder / name).write_text(text)

    return arrange


def full_disk(folder):
    answers(folder)
    coda.full(folder / "out" / "scores.json")


def item(**change):
    """A row of items.jsonl."""
    return {"task": "driving_suggestion", "id": "val_0001", "region": "", "region_class": "", "question_id": 1,
            "image": "val/images/0001.jpg", "reference": "Slow down.", "prediction": "Stop.", "judge": "text", "repeat": 0,
            "score": 50, "reason": "", "reply": "", **change}


def scored(**folders):
    """Folders as score writes them: name=[rows]."""

    def arrange(folder):
        for name, rows in folders.items():
            (folder / name).mkdir()
            (folder / name / "items.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    return arrange


def complete(folder, **change):
    """A good set with an answer to each question, the region's row with `change`."""
    coda.make(folder)
    (folder / "answers").mkdir()
    image, boxed = "val/images/0001.jpg", "val/images_w_boxes/0001_object_1.jpg"
    for task, row in {"general_perception": {"image": image}, "driving_suggestion": {"image": image},
                      "region_perception": {"image": boxed, "label_name": "traffic_cone", **change}}.items():
        row = {"question_id": 0, "answer": "Slow down.", **row}
        (folder / "answers" / f"{task}_answer.jsonl").write_text(json.dumps(row) + "\n")


COMPARE, AGREEMENT = ["compare", "{dir}/a", "{dir}/b"], ["agreement", "{dir}/a"]
REPORT = ["report", "--out", "{dir}/report.html"]
SUBMIT = ["submission", "--coda", "{dir}/CODA", "--split", "Mini", "--answers", "{dir}/answers", "--out", "{dir}/s.zip"]

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
    Case("compares", COMPARE, 0, arrange=scored(a=[item()], b=[item(score=40)]), prints=["| task | driving_suggestion | 1 |"]),
    Case("compares as CSV", [*COMPARE, "--format", "csv"], 0, arrange=scored(a=[item()], b=[item(score=40)]),
         prints=["part,name,items"]),
    Case("compare with nothing", ["compare", "{dir}/a"], 2, ["B"]),
    Case("compare without items", COMPARE, 3, ["{dir}/a", "no such file"]),
    Case("compare different sets", COMPARE, 3, ["1 only in {dir}/a", "driving_suggestion val_0001", "--common"],
         scored(a=[item()], b=[item(id="val_0002")])),
    Case("compare different judges", COMPARE, 3, ["was judged by facts"], scored(a=[item()], b=[item(judge="facts")])),
    Case("compare by a judge that is not there", [*COMPARE, "--judge", "fats"], 2, ["fats", "text"],
         scored(a=[item()], b=[item()])),
    Case("compare a score out of range", COMPARE, 3, ["b/items.jsonl:1", "score: expected 0 to 100", "120"],
         scored(a=[item()], b=[item(score=120)])),
    Case("judges agree", [*AGREEMENT, "{dir}/b"], 0, arrange=scored(a=[item()], b=[item(judge="x")]), prints=["| text | x | all | 1 |"]),
    Case("agreement of one judge", AGREEMENT, 3, ["nothing to compare"], scored(a=[item()])),
    Case("agreement on different answers", [*AGREEMENT, "{dir}/b"], 3, ["val_0001", "different answers"],
         scored(a=[item()], b=[item(judge="x", prediction="Go.")])),
    Case("submission", SUBMIT, 0, arrange=complete, prints=["region_perception_answer.jsonl: 1 answers"]),
    Case("submission of missing files", SUBMIT, 3, ["general_perception_answer.jsonl", "no such file"], answers, ["s.zip"]),
    Case("submission without label_name", SUBMIT, 3, ["region_perception_answer.jsonl", "question_id 0", "label_name"],
         lambda folder: complete(folder, label_name=""), ["s.zip"]),
    Case("submission of an empty answer", SUBMIT, 3, ["1 answers are empty", "val_0001 region 1"],
         lambda folder: complete(folder, answer=" "), ["s.zip"]),
    Case("report of nothing", REPORT, 2, ["--spec", "--scores"], untouched=["report.html"]),
    Case("report without a file", ["report", "--scores", "{dir}/a"], 2, ["--out"]),
    Case("report of a folder without scores", [*REPORT, "--scores", "{dir}/a"], 3, ["a/scores.json", "no such file"],
         untouched=["report.html"]),
    Case("report of two folders of one name", [*REPORT, "--scores", "{dir}/a", "--scores", "{dir}/a"], 2, ["NAME=DIR"]),
    Case("report in an unknown format", [*REPORT, "--scores", "{dir}/a", "--format", "pdf"], 2, ["pdf", "html"]),
    Case("a judge without its model", OPENAI, 2, ["--model"], answers, SCORES),
    Case("one model named twice", [*OPENAI, "--model", "m,m"], 2, ["openai:m", "twice"], answers, SCORES),
    Case("a model for a judge that is not asked", [*TEXT, "--model", "m"], 2, ["--model is for --judge openai"], answers, SCORES),
    Case("a server for a judge that is not asked", [*TEXT, "--parallel", "3"], 2, ["--parallel is for --judge openai"], answers,
         SCORES),
    Case("a recording for a judge that is not asked", [*MODEL, "--recording", "{dir}/r"], 2, ["--recording is for --judge recorded"],
         answers, SCORES),
    Case("a tokenizer without a plan", [*MODEL, "--tokenizer", "{dir}"], 2, ["--tokenizer is for --dry-run"], answers, SCORES),
    Case("an address that is none", [*SCORE, "--judge", "openai", "--model", "m", "--base-url", "127.0.0.1"], 2, ["--base-url"], answers, SCORES),
    Case("a password in the address", [*SCORE, "--judge", "openai", "--model", "m", "--base-url", "http://a:b@h/v1"], 2,
         ["...@h/v1", "--key-file"], answers, SCORES),
    Case("a key that is not set", [*MODEL, "--key-env", "MOSE_NO_SUCH_KEY"], 2, ["MOSE_NO_SUCH_KEY"], answers, SCORES),
    Case("a key file that is not there", [*MODEL, "--key-file", "{dir}/key"], 3, ["{dir}/key"], answers, SCORES),
    Case("an empty key file", [*MODEL, "--key-file", "{dir}/key"], 2, ["{dir}/key", "found nothing"], file_of("key", "\n"), SCORES),
    Case("no certificates", [*MODEL, "--ca-file", "{dir}/ca.pem"], 2, ["{dir}/ca.pem"], answers, SCORES),
    Case("nobody at the address", MODEL, 1, ["http://127.0.0.1:9/v1", "judged none of 1 items"], answers, SCORES),
    Case("zero requests at once", [*MODEL, "--parallel", "0"], 2, ["--parallel"], answers, SCORES),
    Case("a damaged cache", [*MODEL, "--cache", "{dir}/cache.sqlite"], 3, ["{dir}/cache.sqlite", "damaged"], damaged_cache,
         [*SCORES, "cache.sqlite"]),
    Case("a cache where a folder is", [*MODEL, "--cache", "{dir}"], 1, ["cannot open"], answers, SCORES),
    Case("no protocol", [*MODEL, "--protocol", "{dir}/p.json"], 3, ["{dir}/p.json"], answers, SCORES),
    Case("a truncated protocol", [*MODEL, "--protocol", "{dir}/protocol.json"], 3, ["protocol.json", "not valid JSON"],
         protocol('{"format": "mose-'), SCORES),
    Case("a protocol of another format", [*MODEL, "--protocol", "{dir}/protocol.json"], 3, ["\"format\"", "mose-protocol-1"],
         protocol('{"format": "x"}'), SCORES),
    Case("prices of no money", [*MODEL, "--dry-run", "--prices", "{dir}/prices.json"], 3, ["prices.json", "currency"],
         file_of("prices.json", "{}"), SCORES),
    Case("a plan", [*MODEL, "--dry-run"], 0, prints=["| m | 1 | 0 |"], arrange=answers, untouched=["out/verdicts.sqlite"]),
    Case("a plan with no tokenizer", [*MODEL, "--dry-run", "--tokenizer", "{dir}/none"], 3, ["{dir}/none"], answers, SCORES),
    Case("no recording", RECORDED, 2, ["--recording"], answers, SCORES),
    Case("a truncated recording", [*RECORDED, "--recording", "{dir}/r.jsonl"], 3, ["r.jsonl:1", "not valid JSON"],
         file_of("r.jsonl", '{"task": "driv'), SCORES),
    Case("protocol without a command", ["protocol"], 2, ["ubcommand"]),
    Case("import of no checkout", ["protocol", "import", "--from", "{dir}", "--out", "{dir}/p.json"], 3, ["{dir}/evaluation"],
         untouched=["p.json"]),
    Case("show of no protocol", ["protocol", "show", "{dir}/p.json"], 3, ["{dir}/p.json"]),
    Case("the default protocol", ["protocol", "show"], 0, prints=["sha256", "{reference}"]),
    Case("a batch for two models", ["batch", "write", *BATCH, "--model", "a,b", "--out", "{dir}/r.jsonl"], 2, ["one model"], answers,
         ["r.jsonl"]),
    Case("a batch", ["batch", "write", *BATCH, "--model", "a", "--out", "{dir}/r.jsonl"], 0, prints=["\"requests\": 1"], arrange=answers),
    Case("truncated batch replies", ["batch", "read", *BATCH, "--model", "a", "--replies", "{dir}/r.jsonl"], 3,
         ["r.jsonl:1", "not valid JSON"], file_of("r.jsonl", '{"custom_id": "x", "resp')),
    Case("batch replies without ids", ["batch", "read", *BATCH, "--model", "a", "--replies", "{dir}/r.jsonl"], 3,
         ["r.jsonl:1", "custom_id"], file_of("r.jsonl", "{}\n")),
    Case("report of no spec", ["report", "--spec", "{dir}/spec.json", "--out", "{dir}/report.html"], 3,
         ["{dir}/spec.json", "no such file"], untouched=["report.html"]),
    Case("report of a truncated spec", ["report", "--spec", "{dir}/spec.json", "--out", "{dir}/report.html"], 3,
         ["{dir}/spec.json", "not valid JSON"], lambda folder: (folder / "spec.json").write_text('{"arms": [') and None,
         ["report.html"]),
]
