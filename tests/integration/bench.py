"""mose-bench in small: the rows' form, that results were found equal, and that what cannot be compared is counted.
No time is asserted."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile

BIN = pathlib.Path(os.environ["MOSE_BIN"])
KEYS = ["name", "shape", "peer", "ours_ms", "peer_ms", "ratio", "noise", "limit_share"]


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def bench(folder, *arguments):
    done = subprocess.run([BIN / "mose-bench", *arguments, "--json", folder / "rows.json", "--markdown", folder / "rows.md",
                           "--python", sys.executable], capture_output=True, text=True, timeout=500, check=False)
    return done, json.loads((folder / "rows.json").read_text()), (folder / "rows.md").read_text()


def check_rows(rows, text, expected):
    check(len(rows) == expected, f"{len(rows)} rows, expected {expected}: {rows}")
    for row in rows:
        check(list(row)[:len(KEYS)] == KEYS, f"keys {list(row)}")
        check(row["ours_ms"] > 0 and row["peer_ms"] > 0 and row["noise"] >= 0, f"times of {row}")
        rounding = 1e-4 / min(row["ours_ms"], row["peer_ms"])  # the times have four digits behind the point
        check(abs(row["ratio"] - row["peer_ms"] / row["ours_ms"]) <= (0.01 + rounding) * row["ratio"] + 0.001, f"ratio of {row}")
        check(row["limit_share"] is None or row["limit_share"] > 0 or "rehearsal" in row, f"limit share of {row}")
        check(row["name"] in text and row["peer"] in text, f"{row['name']} is not in the table")


with tempfile.TemporaryDirectory() as name:
    folder = pathlib.Path(name)
    # Ids are compared text by text before anything is timed; a difference would be a missing comparison.
    done, rows, text = bench(folder, "tokenizer", "--repetitions", "2")
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
    check_rows(rows, text, 6)
    check({row["name"] for row in rows} == {"tokenizer: driving text", "tokenizer: multilingual text"}, "names of the rows")
    check("tokenizers 0." in text and "Machine" in text and "mose-bench tokenizer --repetitions 2" in text, text)
    print(f"tokenizer: {len(rows)} rows")

    done, rows, text = bench(folder, "machine", "--repetitions", "1", "--threads", "1")
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
    check_rows(rows, text, 3)
    print(f"machine: {len(rows)} rows")

    # The rows for a GPU, tried on the CPU at tiny sizes: both sides give what float64 gives, or a row would be missing.
    done, rows, text = bench(folder, "gpu", "--rehearse", "--repetitions", "1", "--threads", "1")
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
    works = {"gpu-machine: gemm": 1, "gpu-machine: copy": 1, "gpu-machine: read": 1, "gpu-moe: layer, forward + backward": 9,
             "gpu-moe: routing + permutation, forward + backward": 3, "gpu-moe: layer, few tokens": 10, "gpu-head: linear + cross-entropy": 1,
             "gpu-decode: greedy, one sequence": 2, "gpu-train: step": 2, "gpu-train: share of the device's peak": 1, "gpu-train: packed": 1,
             "gpu-evaluate: questions about pictures": 1, "gpu-decode: greedy, one sequence, against a compiled peer": 1}
    check_rows(rows, text, sum(works.values()))
    for work, count in works.items():
        found = [row for row in rows if row["name"] == work]
        check(len(found) == count, f"{len(found)} rows of {work}, expected {count}")
        check(all("rehearsal" in row and row["repetitions"] == 1 for row in found), f"rows that do not say that they are a rehearsal: {found}")
    print(f"gpu, rehearsed: {len(rows)} rows")

    # What no longer fits is left out, and that is no failure.
    done, rows, text = bench(folder, "gpu-head", "gpu-train", "--rehearse", "--repetitions", "1", "--budget", "1")
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
    check("left out: of 1 seconds 0 are left" in text, text)
    print("gpu: rows beyond the budget are left out")

    # Ours and transformers open the same model and begin with the same token.
    done, rows, text = bench(folder, "startup", "--repetitions", "1", "--threads", "1")
    check(done.returncode == 0, f"exit code {done.returncode}: {done.stderr}")
    check_rows(rows, text, 1)
    print("startup: 1 row")
