"""The Python side of mose-bench: serve.py MODULE answers JSON lines with functions of that module.

A line {"do": "name", ...} calls name(...) with the other keys as arguments; its result, a dict, is the answer.
An exception is the answer {"error": text} and its traceback goes to stderr. Ends with its input.
"""

import importlib
import importlib.metadata
import json
import os
import pathlib
import platform
import sys
import traceback

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))


def versions(module):
    found = [f"Python {platform.python_version()}"]
    for name in module.PACKAGES:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            pass
    return {"versions": found}


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    module = problem = None
    try:
        module = importlib.import_module(sys.argv[1])
    except ImportError as error:
        problem = f"{error} (with {sys.executable}; scripts/setup.sh --tests makes an environment that has the peers, --python names another)"
    for line in sys.stdin:
        call = json.loads(line)
        try:
            if problem:
                raise RuntimeError(problem)
            name = call.pop("do")
            answer = versions(module) if name == "versions" else getattr(module, name)(**call)
        except Exception as error:  # every failure is the caller's to report
            traceback.print_exc()
            answer = {"error": str(error) or type(error).__name__}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
