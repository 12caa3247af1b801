"""mose-bench's answers to bad input: the measuring itself is left to tests/integration/bench.py."""

from harness import Case


def python_that(script):
    """{dir}/python, in place of the peers' Python."""
    def arrange(folder):
        path = folder / "python"
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    return arrange


OURS = ["machine", "--repetitions", "1", "--threads", "1"]
WITH = [*OURS, "--python", "{dir}/python", "--json", "{dir}/out.json"]
SAYS_NO = """while read line; do echo '{"error": "No module named torch"}'; done"""

CASES = [
    Case("no repetitions", ["machine", "--repetitions", "0"], 2, ["--repetitions", "1 to 1000"]),
    Case("repetitions that are no number", ["machine", "--repetitions", "many"], 2, ["--repetitions", "many"]),
    Case("fewer threads than none", ["machine", "--threads", "-1"], 2, ["--threads"]),
    Case("no folder for --json", [*OURS, "--json", "{dir}/none/out.json"], 2, ["--json", "{dir}/none"]),
    Case("no folder for --markdown", [*OURS, "--markdown", "{dir}/none/out.md"], 2, ["--markdown", "{dir}/none"]),
    Case("no Python", [*OURS, "--python", "{dir}/python"], 1, ["{dir}/python", "--python"]),
    Case("a peer's package is missing", WITH, 1, ["1 of the comparisons", "machine", "No module named torch"],
         python_that(SAYS_NO)),
    Case("a peer that dies", WITH, 1, ["the process ended", "out of luck"], python_that("echo out of luck >&2; exit 3")),
    Case("a peer that speaks no JSON", WITH, 1, ["not valid JSON"], python_that("read line; echo hello; cat")),
]
