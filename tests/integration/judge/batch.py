"""Judging without a server of our own choice of moment: plans, batch files, recordings."""

import json
import pathlib
import shutil
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from chat_server import ChatServer, completion, rating  # noqa: E402
from judge_set import TASKS, JudgeSet, check, equal, item_of, near, run, run_tests  # noqa: E402


def rows(file):
    return [json.loads(line) for line in pathlib.Path(file).read_text().splitlines()]


def batch(data, command, *more):
    done = run("batch", command, *data.input(), "--model", "judge-1", "--cache", data.folder / "c.sqlite", *more)
    equal(done.returncode, 0, f"batch {command}: {done.stderr}")
    return json.loads(done.stdout)


def provider(requests, out, answer):
    """What a provider gives back: one row a request, in another order."""
    lines = []
    for request in reversed(rows(requests)):
        item = item_of(request["body"]["messages"][-1]["content"])
        status, body = answer(item)
        lines.append(json.dumps({"id": "b", "custom_id": request["custom_id"], "error": None,
                                 "response": {"status_code": status, "request_id": "r", "body": json.loads(body)}}))
    out.write_text("".join(line + "\n" for line in lines))


def test_a_batch_fills_the_cache(folder):
    data = JudgeSet(folder, 6)
    requests, replies = folder / "requests.jsonl", folder / "replies.jsonl"
    with ChatServer(lambda asked: rating(8)) as server:
        cache = ["--cache", folder / "c.sqlite"]
        wrote = batch(data, "write", "--out", requests)
        equal([wrote["requests"], wrote["from_cache"], wrote["files"]], [18, 0, [str(requests)]], "what was written")
        written = rows(requests)
        equal({(row["method"], row["url"]) for row in written}, {("POST", "/v1/chat/completions")}, "method and url")
        check(all(len(row["custom_id"]) == 64 for row in written), "custom ids of 64 characters")

        def answer(item):
            task, scene = item
            if item == (TASKS[0], 1):
                return 500, '{"error": {"message": "try again"}}'
            if item == (TASKS[0], 2):
                return 200, completion("no rating")
            return 200, completion(f"Rating: [[{scene + 3}]]", prompt_tokens=50)

        provider(requests, replies, answer)
        with replies.open("a") as file:
            file.write(json.dumps({"custom_id": "of another batch", "response": None, "error": {"code": "x"}}) + "\n")
        read = batch(data, "read", "--replies", replies)
        equal([read[key] for key in ("stored", "known", "unreadable", "failed", "unknown", "pending")], [17, 0, 1, 1, 1, 1], "counts")
        check(any("val_0001" in p and "try again" in p for p in read["problems"]), f"problems: {read['problems']}")
        equal(batch(data, "read", "--replies", replies)["known"], 17, "known when read again")

        # The body of a batch is that of a single request, byte for byte; score asks for what is left alone.
        line = next(text for text in requests.read_text().splitlines() if "Answer to general_perception 1." in text)
        body = line[line.index('"body":') + len('"body":'):-1]
        scores = data.score(server.url, *cache)
        equal([asked.body.decode() for asked in server.asked], [body], "what score asks for")
        near(scores["tasks"][TASKS[2]]["official"], 10 * sum(range(4, 10)) / 6, "official of the batch's verdicts")
        equal(scores["tasks"][TASKS[0]]["unjudged"], 1, "unjudged")
        equal(scores["spent"]["prompt_tokens"], 16 * 50 + 100 + 100, "tokens of the batch and of the request")


def test_a_long_batch_is_cut(folder):
    data = JudgeSet(folder, 5)
    wrote = batch(data, "write", "--out", folder / "r.jsonl", "--max-requests", "6")
    equal([pathlib.Path(f).name for f in wrote["files"]], ["r.jsonl", "r.2.jsonl", "r.3.jsonl"], "files")
    parts = [rows(file) for file in wrote["files"]]
    equal([len(part) for part in parts], [6, 6, 3], "requests in each")
    equal(len({row["custom_id"] for part in parts for row in part}), 15, "different requests")


def test_a_plan_sends_and_writes_nothing(folder):
    data = JudgeSet(folder, 4)
    prices = folder / "prices.json"
    prices.write_text(json.dumps({"currency": "EUR", "models": {"judge-1": {"input": 2, "output": 10}}}))
    with ChatServer(lambda asked: rating(8, prompt_tokens=1000, completion_tokens=300)) as server:
        plan_args = [*data.score_args(server.url, "--dry-run", "--prices", prices, "--format", "json")]
        plan = json.loads(run(*plan_args).stdout)
        equal(len(server.asked), 0, "requests")
        check(not (folder / "out").exists(), "a plan made its folder")
        planned = plan["models"]["judge-1"]
        equal([planned["requests"], planned["from_cache"], planned["completion_tokens"]], [12, 0, 12 * 200], "the plan")
        near(planned["cost"], (planned["prompt_tokens"] * 2 + 2400 * 10) / 1e6, "cost")
        spent = data.score(server.url, "--prices", prices)["spent"]
        # The estimate: four tokens around each message, three at the end, and a quarter of the bytes, rounded up.
        expected = sum(3 + sum(4 + (len(m["content"].encode()) + 3) // 4 for m in asked.json["messages"]) for asked in server.asked)
        equal(planned["prompt_tokens"], expected, "estimated tokens")
        near(spent["cost"], 12 * (1000 * 2 + 300 * 10) / 1e6, "money spent")
        equal(spent["currency"], "EUR", "currency")
        data.write_answers(TASKS[2], {i: f"Answer to {TASKS[2]} {i}. Changed." for i in range(1, 5)})
        planned = json.loads(run(*plan_args).stdout)["models"]["judge-1"]
        equal([planned["requests"], planned["from_cache"], planned["completion_tokens"]], [4, 8, 4 * 300], "a later plan")
        table = run(*[a if a != "json" else "markdown" for a in plan_args]).stdout
        check("| judge-1 | 4 | 8 |" in table and "EUR" in table, f"table: {table}")


def test_verdicts_are_replayed(folder):
    data = JudgeSet(folder, 5)
    with ChatServer(lambda asked: rating(item_of(asked.question)[1])) as server:
        original = data.score(server.url)
    recording = folder / "recording.jsonl"
    shutil.copy(folder / "out" / "items.jsonl", recording)

    def replay():
        done = run("score", *data.input(), "--judge", "recorded", "--recording", recording, "--out", folder / "replayed",
                   "--format", "json")
        equal(done.returncode, 0, f"replay: {done.stderr}")
        return json.loads(done.stdout)

    scores = replay()
    equal(scores["judge"], "recorded:openai:judge-1", "judge")
    equal(scores["comparable"], False, "comparable")
    equal([scores["tasks"], scores["regions"], scores["final"]], [original["tasks"], original["regions"], original["final"]],
          "replayed scores")
    data.write_answers(TASKS[0], {1: "Another answer.", 2: f"Answer to {TASKS[0]} 2."})
    task = replay()["tasks"][TASKS[0]]
    equal([task["judged"], task["missing"], task["unjudged"]], [1, 3, 1], "counts where answers differ")
    near(task["strict"], (20 + 3 * 10) / 4, "strict of a judge that rates from 1")
    # Written by hand: a rating in a reply, no prediction.
    recording.write_text("".join(json.dumps({"task": TASKS[2], "id": f"val_{i:04}", "judge": "me", "reply": f"[[{i}.5]]"}) + "\n"
                                 for i in range(1, 6)))
    near(replay()["tasks"][TASKS[2]]["official"], 35, "ratings by hand")


if __name__ == "__main__":
    sys.exit(run_tests([value for name, value in list(globals().items()) if name.startswith("test_")]))
