"""mose-data's answers to bad input."""

import subprocess

import coda
from harness import BIN, Case

PREPARE = ["prepare", "--coda", "{dir}/CODA", "--split", "Mini", "--out", "{dir}/out"]
OUT = ["out/mini.jsonl", "out/meta.json"]


def prepared(folder):
    coda.make(folder)
    subprocess.run([BIN / "mose-data", "prepare", "--quiet", "--coda", folder / "CODA", "--split", "Mini", "--out",
                    folder / "out"], check=True, capture_output=True)


def prepared_then(change):
    """A prepared dataset of which `change` spoils the text of the file of samples."""

    def arrange(folder):
        prepared(folder)
        file = folder / "out" / "mini.jsonl"
        file.write_text(change(file.read_text()))

    return arrange


def without_meta(folder):
    prepared(folder)
    (folder / "out" / "meta.json").unlink()


def full_disk(folder):
    coda.make(folder)
    coda.full(folder / "out" / "mini.jsonl")


def out_is_a_file(folder):
    coda.make(folder)
    (folder / "out").write_text("a file")


CASES = [
    Case("prepares a good set", PREPARE, 0, arrange=coda.make, prints=["1 annotations"]),
    Case("prepare without options", ["prepare"], 2, ["--coda"]),
    Case("no such set", PREPARE, 3, ["{dir}/CODA/CODA-LM/Mini"], untouched=OUT),
    Case("unknown split", ["Mni" if a == "Mini" else a for a in PREPARE], 2, ["Mni"], coda.make, OUT),
    Case("missing image", PREPARE, 3, ["val_0001.json", "val/images/0001.jpg"], coda.without_image, OUT),
    Case("truncated JSON", PREPARE, 3, ["val_0001.json", "not valid JSON", "line 1"], coda.truncated, OUT),
    Case("box outside the image", PREPARE, 3, ["val_0001.json", "region_perception.1", "[60, 20, 30, 16]", "64 x 48"],
         coda.spoilt(coda.box_outside), OUT),
    Case("empty box", PREPARE, 3, ["val_0001.json", '"box"'], coda.spoilt(coda.empty_box), OUT),
    Case("missing field", PREPARE, 3, ["val_0001.json", '"driving_suggestion" is missing'],
         coda.spoilt(coda.no_suggestion), OUT),
    Case("only bad annotations left out", [*PREPARE, "--skip-bad"], 3, ["val_0001.json"], coda.truncated, OUT),
    Case("nothing asked for", [*PREPARE, "--no-single-turn", "--no-multi-turn"], 2, ["single-turn"], coda.make, OUT),
    Case("missing taxonomy", [*PREPARE, "--taxonomy", "{dir}/none.json"], 3, ["{dir}/none.json"], coda.make, OUT),
    Case("a chat model without its name", ["annotate", "--with", "chat", "--cache", "{dir}/c.sqlite"], 2, ["--model is missing"], untouched=["c.sqlite"]),
    Case("a chat model without a cache", ["annotate", "--with", "chat", "--model", "m"], 2, ["--cache is missing"]),
    Case("a chat model's option for the rules", ["annotate", "--model", "m"], 2, ["--model is for --with chat"]),
    Case("nearly everything held out", ["scenes", "--out", "{dir}/scenes", "--train", "1", "--hold-out", "0.9"], 2,
         ["hold-out", "0.9"], untouched=["scenes"]),
    Case("full disk", PREPARE, 1, ["mini.jsonl", "No space left on device"], full_disk),
    Case("out is a file", PREPARE, 1, ["{dir}/out"], out_is_a_file, ["out"]),
    Case("full disk behind stdout", ["stats", "{dir}/out"], 1, ["standard output"], prepared, stdout_to="/dev/full"),
    Case("stats of no dataset", ["stats", "{dir}/out"], 3, ["{dir}/out"]),
    Case("stats of a split that is not there", ["stats", "{dir}/out", "--split", "val"], 3, ["val.jsonl"], prepared),
    Case("stats without meta.json", ["stats", "{dir}/out"], 3, ["meta.json"], without_meta),
    Case("a truncated sample", ["stats", "{dir}/out"], 3, ["mini.jsonl:", "not valid JSON"],
         prepared_then(lambda text: text[:-30])),
    Case("a sample of an unknown stage", ["stats", "{dir}/out"], 3, ["mini.jsonl:1", '"describ"'],
         prepared_then(lambda text: text.replace('"describe"', '"describ"', 1))),
    Case("inspect an unknown sample", ["inspect", "{dir}/out", "--split", "mini", "--sample", "val_0001/singl"], 2,
         ["nearest is val_0001/single"], prepared),
    Case("annotate an unknown task", ["annotate", "{dir}/lines", "--task", "scne"], 2, ["scne"],
         lambda folder: (folder / "lines").write_text("A van brakes.\n") and None),
    Case("annotate truncated JSON", ["annotate", "{dir}/lines", "--task", "scene"], 3, ["{dir}/lines:2"],
         lambda folder: (folder / "lines").write_text('{"answer": "x"}\n{"answer": \n') and None),
    Case("annotate no file", ["annotate", "{dir}/none"], 3, ["{dir}/none"]),
]
