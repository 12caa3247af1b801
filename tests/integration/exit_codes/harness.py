"""Tables of bad input and the program's answer to each.

A table is a list of Case. A case runs in a folder of its own, which `arrange` fills; "{dir}" in the
arguments is that folder. The program must end with `code`, must say each text of `says` on stderr, and must
leave each file of `untouched` as it was (missing, if it was missing).
"""

import dataclasses
import os
import pathlib
import re
import resource
import subprocess
import tempfile
import time
from typing import Callable, Sequence

BIN = pathlib.Path(os.environ["MOSE_BIN"])


@dataclasses.dataclass
class Case:
    name: str
    args: Sequence[str]
    code: int
    says: Sequence[str] = ()
    arrange: Callable[[pathlib.Path], None] = lambda folder: None
    untouched: Sequence[str] = ()
    stdout_to: str = ""  # a path such as /dev/full
    prints: Sequence[str] = ()  # on stdout
    file_limit: int = 0  # bytes that a file may grow to, where a full disk cannot be had: the same failed write


def run(program, args, stdout_to="", file_limit=0):
    limit = (lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))) if file_limit else None
    with open(stdout_to, "wb") if stdout_to else tempfile.TemporaryFile() as out:
        result = subprocess.run([BIN / program, *args], stdin=subprocess.DEVNULL, stdout=out,
                                stderr=subprocess.PIPE, timeout=300, check=False, preexec_fn=limit)
        text = b""
        if not stdout_to:
            out.seek(0)
            text = out.read()
    return result.returncode, text.decode(errors="replace"), result.stderr.decode(errors="replace")


def content(path):
    return path.read_bytes() if path.is_file() else None


def failures(program, case):
    """What is wrong with the program's answer to one case: a list of sentences."""
    wrong = []
    with tempfile.TemporaryDirectory(prefix="mose_case_") as name:
        folder = pathlib.Path(name)
        case.arrange(folder)
        before = {path: content(folder / path) for path in case.untouched}
        args = [str(arg).replace("{dir}", name) for arg in case.args]
        code, out, err = run(program, args, case.stdout_to, case.file_limit)
        if code != case.code:
            wrong.append(f"exit code {code}, expected {case.code}")
        wrong += [f"stderr lacks {text!r}" for text in case.says if text.replace("{dir}", name) not in err]
        wrong += [f"stdout lacks {text!r}" for text in case.prints if text.replace("{dir}", name) not in out]
        if case.code and len(err.strip().splitlines()) == 0:
            wrong.append("nothing on stderr")
        wrong += [f"{path} was changed" for path in case.untouched if content(folder / path) != before[path]]
        leftovers = [str(path) for path in folder.rglob("*.tmp*")]
        wrong += [f"left {path} behind" for path in leftovers]
        if wrong:
            wrong.append(f"command: {program} {' '.join(args)}\n    stderr: {err.strip()[-1500:]}")
    return wrong


def subcommands(program):
    """Names under "Subcommands:" in --help."""
    _, help_text, _ = run(program, ["--help"])
    listed = re.search(r"^Subcommands:\n((?:  .*\n)+)", help_text, re.MULTILINE)
    return re.findall(r"^  (\S+)", listed.group(1), re.MULTILINE) if listed else []


def common_cases(program):
    """What every program answers alike."""
    commands = subcommands(program)
    cases = [
        Case("no arguments", [], 2, ["ubcommand"] if commands else ["--"]),
        Case("--help", ["--help"], 0, prints=["--log-level", "--quiet", "--version"]),
        Case("--version", ["--version"], 0, prints=[program + " ", "git"]),
        Case("unknown option", ["--no-such-option"], 2, ["no-such-option"]),
        Case("unknown command", ["no-such-command"], 2, ["no-such-command"]),
    ]
    for name in commands:
        cases.append(Case(f"{name} --help", [name, "--help"], 0, prints=[name]))
        cases.append(Case(f"{name}: unknown option", [name, "--no-such-option"], 2))
    return cases


def check(program, cases):
    """Runs all cases, prints the wrong ones; the number of wrong ones."""
    started = time.time()
    bad = 0
    cases = [*common_cases(program), *cases]
    for case in cases:
        wrong = failures(program, case)
        if wrong:
            bad += 1
            print(f"{program}: {case.name}\n    " + "\n    ".join(wrong))
    print(f"{program}: {len(cases)} cases, {bad} wrong, {time.time() - started:.1f} s")
    return bad
