"""A run that ends early loses nothing that was answered: kill, Ctrl-C, two runs at once, a damaged cache."""

import json
import pathlib
import random
import signal
import sqlite3
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from chat_server import ChatServer, Reply, completion, rating  # noqa: E402
from judge_set import BIN, TASKS, JudgeSet, check, environment, equal, item_of, near, run, run_tests  # noqa: E402

PARALLEL = 8


def slow(asked):
    """A rating that the item decides, after 5 to 25 ms."""
    task, scene = item_of(asked.question)
    delay = 0.005 + 0.02 * random.Random(f"{task}{scene}").random()
    return Reply(body=completion(f"Rating: [[{scene % 10 + 1}]]"), delay=delay)


def start(data, url, *more, out="out"):
    args = data.score_args(url, "--parallel", str(PARALLEL), *more, out=out)
    return subprocess.Popen([BIN / "mose-eval", *map(str, args)], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE,
                            text=True, env=environment())


def stored(cache):
    """The items in the cache, read by another program."""
    if not cache.exists():
        return set()
    with sqlite3.connect(cache) as db:
        equal(db.execute("PRAGMA integrity_check").fetchone()[0], "ok", "integrity of the cache")
        if not db.execute("SELECT name FROM sqlite_master WHERE name = 'verdicts'").fetchone():
            return set()
        return {(task, int(item.split(" ")[0][-4:])) for task, item in db.execute("SELECT task, item FROM verdicts")}


def test_killed_ten_times(folder):
    data = JudgeSet(folder, 150)
    cache = folder / "out" / "verdicts.sqlite"
    kept = set()
    with ChatServer(slow) as server:
        kills = []
        for number in range(10):
            process = start(data, server.url)
            before = len(server.asked)
            while len(server.asked) < before + 20 + 3 * number and process.poll() is None:
                time.sleep(0.002)
            check(process.poll() is None, f"run {number} ended before it was killed")
            process.send_signal(signal.SIGKILL)
            process.communicate()
            kills.append(time.monotonic())
            now = stored(cache)
            check(kept <= now, f"the kill lost {kept - now}")
            kept = now
        scores = data.score(server.url, "--parallel", str(PARALLEL))

        items = 450
        asked = {}
        for a in server.asked:
            asked.setdefault(item_of(a.question), []).append(a)
        equal(len(asked), items, "items asked about")
        # Asked again only what had no stored answer at a kill: never more than are on their way at once. A request on its way
        # at one kill may be read by the server after it and counts for the next, hence the sums.
        again = [0] * len(kills)
        for list_ in asked.values():
            for a in list_[:-1]:
                again[next((i for i, at in enumerate(kills) if at > a.came), -1)] += 1
        for kill in range(len(kills)):
            check(sum(again[:kill + 1]) <= (kill + 1) * PARALLEL, f"asked again after each kill: {again}")
        twice = sum(again)
        check(len(server.asked) - items == twice, "requests that are no item's")
        near(scores["tasks"][TASKS[0]]["official"], 10 * sum(i % 10 + 1 for i in range(1, 151)) / 150, "official")
        equal(scores["tasks"][TASKS[1]]["judged"], 150, "judged")
        before = len(server.asked)
        data.score(server.url)
        equal(len(server.asked), before, "requests of a run after that")
        print(f"        10 kills, {items} items, {twice} asked again (at most {10 * PARALLEL} were on their way)")


def test_interrupted_by_hand(folder):
    data = JudgeSet(folder, 60)
    for number, code in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        with ChatServer(slow) as server:
            process = start(data, server.url, "--cache", folder / f"{code}.sqlite")
            while len(server.asked) < 30:
                time.sleep(0.002)
            process.send_signal(number)
            _, stderr = process.communicate(timeout=30)
            equal(process.returncode, code, f"exit code: {stderr}")
            check(not (folder / "out" / "scores.json").exists(), "scores of half the items")
            # Replies on their way were waited for: every question that was asked is in the cache.
            equal(stored(folder / f"{code}.sqlite"), {item_of(a.question) for a in server.asked}, "stored")
            check(all(a.sent for a in server.asked), "a reply was not waited for")


def test_two_runs_share_a_cache(folder):
    data = JudgeSet(folder, 60)
    cache = folder / "shared.sqlite"
    with ChatServer(slow) as server:
        both = [start(data, server.url, "--cache", cache, out=f"out{i}") for i in range(2)]
        for process in both:
            _, stderr = process.communicate(timeout=60)
            equal(process.returncode, 0, f"exit code: {stderr}")
        equal(len(stored(cache)), 180, "verdicts")
        # Each looks again before it asks; what both have on their way at once is asked twice.
        check(180 <= len(server.asked) <= 360, f"{len(server.asked)} requests")
        a, b = ((folder / f"out{i}" / "items.jsonl").read_text() for i in range(2))
        equal(a, b, "rows of the two runs")


def test_damaged_caches_are_refused(folder):
    data = JudgeSet(folder, 2)
    with ChatServer(lambda asked: rating(5)) as server:
        data.score(server.url)
        good = (folder / "out" / "verdicts.sqlite").read_bytes()
        other = folder / "other.sqlite"
        with sqlite3.connect(other) as db:
            db.execute("CREATE TABLE people (name TEXT)")
        for name, content, says in (("not SQLite", b"hello, this is a text file and no database at all\n" * 40, "no cache at all"),
                                    ("cut off", good[:len(good) // 2], "damaged"),
                                    ("a page of zeros", good[:4096] + bytes(4096) + good[8192:], "damaged"),
                                    ("another database", other.read_bytes(), "another SQLite database")):
            file = folder / "bad.sqlite"
            for stale in folder.glob("bad.sqlite*"):
                stale.unlink()
            file.write_bytes(content)
            before = len(server.asked)
            done = run(*data.score_args(server.url, "--cache", file, out="bad"))
            equal(done.returncode, 3, f"{name}: exit code ({done.stderr})")
            check(str(file) in done.stderr and says in done.stderr, f"{name}: {done.stderr}")
            equal(len(server.asked), before, f"{name}: requests")
            equal(file.read_bytes(), content, f"{name}: the file")


def test_verdicts_belong_to_model_protocol_and_answer(folder):
    data = JudgeSet(folder, 3)
    with ChatServer(lambda asked: rating(5)) as server:
        cache = ["--cache", folder / "c.sqlite"]

        def count(*more, model="judge-1"):
            return data.score(server.url, *cache, *more, model=model)["spent"]["requests"]

        equal(count(), 9, "first run")
        equal(count(), 0, "same again")
        equal(count(model="judge-2"), 9, "another model")
        data.write_answers(TASKS[2], {1: f"Answer to {TASKS[2]} 1.", 2: f"Answer to {TASKS[2]} 2. Changed.",
                                      3: f"Answer to {TASKS[2]} 3."})
        equal(count(), 1, "one answer changed")
        file = data.root / "CODA-LM" / "Mini" / "val_0001.json"
        file.write_text(file.read_text().replace("Reference of driving_suggestion", "Another reference of driving_suggestion"))
        equal(count(), 1, "one reference changed")
        protocol = run("protocol", "show", "--json").stdout
        draft = folder / "protocol.json"
        changed = json.loads(protocol)
        changed["tasks"][TASKS[0]]["system"] += " Be kind."
        draft.write_text(json.dumps(changed))
        done = run(*data.score_args(server.url, *cache, "--protocol", draft))
        equal(done.returncode, 3, "exit code with a protocol that was changed after it was pinned")
        check("changed after it was pinned" in done.stderr, done.stderr)
        del changed["sha256"]
        draft.write_text(json.dumps(changed))
        equal(count("--protocol", draft), 9, "another protocol")


if __name__ == "__main__":
    sys.exit(run_tests([value for name, value in list(globals().items()) if name.startswith("test_")]))
