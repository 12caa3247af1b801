"""Checks of what is not compiled: shell scripts parse, Python compiles, JSON is valid, pins are exact."""

import json
import os
import pathlib
import re
import subprocess
import sys

root = pathlib.Path(os.environ["MOSE_SOURCE_DIR"])
listing = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard"], cwd=root,
                         capture_output=True, text=True, check=False)
if listing.returncode == 0 and listing.stdout:
    files = [root / name for name in listing.stdout.splitlines()]
else:  # a source archive without git
    files = [path for path in root.rglob("*") if not any(part.startswith((".venv", "build"))
                                                         for part in path.relative_to(root).parts)]
files = [path for path in files if path.is_file()]
problems = []


def check(path, suffix, work):
    if path.suffix == suffix:
        try:
            work(path)
        except (ValueError, SyntaxError) as error:
            problems.append(f"{path}: {error}")


def shell_parses(path):
    result = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ValueError(result.stderr)
    if path.parent == root / "scripts" and not os.access(path, os.X_OK):
        raise ValueError("is not executable")


def pins_are_exact(path):
    if path.name.startswith("python-"):
        for line in path.read_text().splitlines():
            if line and not line.startswith("#") and not re.fullmatch(r"[A-Za-z0-9_.-]+==[A-Za-z0-9.+]+", line):
                raise ValueError(f"{line!r} is not an exact pin")


fixtures = root / "tests" / "fixtures"
for path in files:
    check(path, ".sh", shell_parses)
    check(path, ".py", lambda p: compile(p.read_text(), str(p), "exec"))
    if fixtures not in path.parents:  # fixtures may be malformed on purpose
        check(path, ".json", lambda p: json.loads(p.read_text()))
    if path.parent == root / "third_party":
        check(path, ".txt", pins_are_exact)

readme = (root / "third_party" / "README.md").read_text()
for line in (root / "third_party" / "apt-packages.txt").read_text().split("\n"):
    if line and not line.startswith("#") and not re.search(rf"(?<![\w+-]){re.escape(line)}(?![\w+-])", readme):
        problems.append(f"third_party/README.md does not say why {line} is needed")

print("\n".join(problems) or f"{len(files)} files checked")
sys.exit(bool(problems))
