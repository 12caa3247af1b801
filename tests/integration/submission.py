"""mose-eval submission writes a ZIP that others can open, with the answer files unchanged."""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import zipfile

BIN = pathlib.Path(os.environ["MOSE_BIN"])


def run(program, *args):
    return subprocess.run([BIN / program, "--quiet", *map(str, args)], capture_output=True, text=True, timeout=300, check=True)


def main():
    with tempfile.TemporaryDirectory(prefix="mose_submission_") as name:
        folder = pathlib.Path(name)
        answers = folder / "answers"
        answers.mkdir()
        run("mose-data", "scenes", "--out", folder / "coda", "--train", 1, "--val", 1, "--test", 3, "--seed", 2)
        for file in (folder / "coda/CODA-LM/Test/vqa_anno").glob("*.jsonl"):
            (answers / f"{file.stem}_answer.jsonl").write_text(file.read_text())
        made = run("mose-eval", "submission", "--coda", folder / "coda", "--split", "Test", "--answers", answers,
                   "--out", folder / "out/submission.zip")
        with zipfile.ZipFile(folder / "out/submission.zip") as archive:
            assert archive.testzip() is None
            assert sorted(archive.namelist()) == sorted(f.name for f in answers.iterdir()), archive.namelist()
            for file in answers.iterdir():
                assert archive.read(file.name) == file.read_bytes(), file.name
                assert f"{file.name}: {len(file.read_text().splitlines())} answers" in made.stdout, made.stdout
                assert all(json.loads(line) for line in archive.read(file.name).splitlines())
    print("submission: passed")


if __name__ == "__main__":
    sys.exit(main())
