"""A judge's server that misbehaves by script: the scores come out right and everything is counted."""

import json
import pathlib
import ssl
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "support"))
from chat_server import ChatServer, Reply, completion, error, rating  # noqa: E402
from judge_set import TASKS, JudgeSet, check, environment, equal, item_of, near, run, run_tests  # noqa: E402


def attempts():
    """Counts how often each item was asked, this time included."""
    counts = {}

    def count(asked):
        item = item_of(asked.question)
        counts[item] = counts.get(item, 0) + 1
        return item, counts[item]

    return count


def test_faults_are_retried(folder):
    """Every kind of passing fault on the first attempt, then a rating that depends on the item."""
    count = attempts()
    faults = [
        lambda: error(429, "slow down", headers={"Retry-After": "1"}),
        lambda: error(500, "oops"),
        lambda: Reply(status=503, body="<html>not JSON</html>"),
        lambda: Reply(drop="before"),
        lambda: Reply(body=completion("Rating: [[8]]"), drop="middle"),
        lambda: Reply(body="{\"choices\": [{\"mess"),
        lambda: Reply(body="{\"choices\": []}"),
        lambda: Reply(body=completion("I would rather not say.")),
        lambda: Reply(body=completion("Rating: [[11]]")),
        lambda: Reply(body=completion("Rating: [[7]]"), delay=9),
    ]

    def answer(asked):
        (task, scene), nth = count(asked)
        if nth == 1 and task == TASKS[0] and scene <= len(faults):
            return faults[scene - 1]()
        return rating({TASKS[0]: scene % 10 + 1, TASKS[1]: 7.5, TASKS[2]: 3}[task])

    with ChatServer(answer) as server:
        data = JudgeSet(folder, 20)
        scores = data.score(server.url, "--timeout", "4", "--parallel", "6")
        tasks = scores["tasks"]
        near(tasks[TASKS[0]]["official"], 10 * sum(i % 10 + 1 for i in range(1, 21)) / 20, "general perception")
        near(tasks[TASKS[1]]["official"], 75, "a decimal rating")
        near(tasks[TASKS[2]]["official"], 30, "suggestion")
        near(scores["final"], (tasks[TASKS[0]]["official"] + 75 + 30) / 3, "final")
        for task in TASKS:
            equal([tasks[task][key] for key in ("count", "judged", "missing", "unjudged")], [20, 20, 0, 0], task)
        # A client library may repeat a request whose connection closed without a byte on its own; no other.
        check(60 + len(faults) <= len(server.asked) <= 60 + len(faults) + 1, f"{len(server.asked)} requests came")
        equal(scores["spent"]["requests"], 60 + len(faults), "requests")
        equal(scores["spent"]["failed_requests"], len(faults), "failed requests")
        equal(scores["spent"]["verdicts"], 60, "verdicts")
        # 60 readable replies and the two without a rating in reach.
        equal(scores["spent"]["prompt_tokens"], 62 * 100, "prompt tokens")
        equal(scores["spent"]["completion_tokens"], 62 * 20, "completion tokens")
        check(len({asked.connection for asked in server.asked}) <= 6 + 5, "connections are kept alive")

        before = len(server.asked)
        again = data.score(server.url, out="again", *["--cache", data.folder / "out" / "verdicts.sqlite"])
        equal(len(server.asked), before, "requests of a second run")
        equal(again["tasks"], tasks, "scores from the cache")
        equal(again["spent"]["from_cache"], 60, "verdicts from the cache")
        equal(again["spent"]["run_prompt_tokens"], 0, "tokens of a second run")


def test_what_stays_without_verdict_is_counted(folder):
    count = attempts()

    def answer(asked):
        (task, scene), nth = count(asked)
        if (task, scene) == (TASKS[0], 2):
            return Reply(body=completion("No rating at all."))
        if (task, scene) == (TASKS[0], 3):
            return error(500, "always")
        if (task, scene) == (TASKS[0], 4):
            return error(400, "the text of scene 4 is refused")
        return rating(6)

    with ChatServer(answer) as server:
        data = JudgeSet(folder, 7)
        data.write_answers(TASKS[0], {i: f"Answer to {TASKS[0]} {i}." for i in range(1, 6)})  # 6 and 7 are missing
        scores = data.score(server.url, "--attempts", "4")
        task = scores["tasks"][TASKS[0]]
        equal([task[key] for key in ("count", "judged", "missing", "unjudged")], [7, 2, 2, 3], "counts")
        near(task["official"], 60, "official")
        near(task["strict"], (60 + 60 + 10 + 10) / 4, "strict: the scale's lowest for a missing answer")
        equal(len(task["lists"]["unjudged"]), 3, "listed")
        for scene, text in ((2, "no rating"), (3, "no reply after 4 requests: HTTP 500: always"), (4, "scene 4 is refused")):
            check(any(f"val_000{scene}" in entry and text in entry for entry in task["lists"]["unjudged"]),
                  f"{text!r} is not in {task['lists']['unjudged']}")
        rows = {row["id"]: row for row in data.items() if row["task"] == TASKS[0]}
        equal(rows["val_0002"]["score"], None, "an unreadable rating's score")
        equal(rows["val_0002"]["reply"], "No rating at all.", "the judge's words are kept")
        equal(rows["val_0006"]["prediction"], None, "a missing answer")
        nth = {}
        for asked in server.asked:
            nth[item_of(asked.question)] = nth.get(item_of(asked.question), 0) + 1
        equal([nth[TASKS[0], i] for i in (1, 2, 3, 4)], [1, 3, 4, 1], "how often each was asked")

        # What failed is asked again, what was unreadable only when told to.
        before = len(server.asked)
        data.score(server.url, "--attempts", "2")
        equal(sorted(item_of(a.question)[1] for a in server.asked[before:]), [3, 3, 4], "asked in the second run")
        before = len(server.asked)
        data.score(server.url, "--attempts", "1", "--retry-unreadable")
        equal(sorted(item_of(a.question)[1] for a in server.asked[before:]), [2, 3, 4], "asked in the third run")


def test_a_useless_server_is_left_early(folder):
    data = JudgeSet(folder, 40)
    for name, answer, says, most in (
            ("the key", lambda asked: error(401, "wrong key sk-secret"), "wrong key [key]", 16),
            ("the model", lambda asked: error(404, "no model judge-1"), "no model judge-1", 16),
            ("the quota", lambda asked: Reply(status=429, body='{"error": {"message": "pay", "code": "insufficient_quota"}}'),
             "pay", 16),
            ("a redirect", lambda asked: Reply(status=308, headers={"Location": "http://127.0.0.1:1/"}), "HTTP 308", 16),
            ("always 500", lambda asked: error(500, "down"), "10 items in a row", 120)):
        with ChatServer(answer) as server:
            done = run(*data.score_args(server.url, "--attempts", "3"), env=environment(OPENAI_API_KEY="sk-secret"))
            equal(done.returncode, 1, f"{name}: exit code")
            check(says in done.stderr and server.url in done.stderr, f"{name}: stderr: {done.stderr}")
            check("sk-secret" not in done.stderr, f"{name}: stderr shows the key")
            check(len(server.asked) <= most, f"{name}: {len(server.asked)} requests")
    with ChatServer(lambda asked: rating(5)) as server:
        closed = server.url
    done = run(*data.score_args(closed, "--attempts", "2"))
    check(done.returncode == 1 and "onnect" in done.stderr, f"a closed port: {done.returncode}: {done.stderr}")


def test_the_key_is_sent_and_kept_nowhere(folder):
    data = JudgeSet(folder, 2)
    key_file = folder / "key.txt"
    key_file.write_text("sk-from-file\n")
    for more, env, expected in (([], {}, None),
                                ([], {"OPENAI_API_KEY": "sk-default"}, "Bearer sk-default"),
                                (["--key-env", "MY_KEY"], {"MY_KEY": "sk-other", "OPENAI_API_KEY": "x"}, "Bearer sk-other"),
                                (["--key-file", key_file], {"OPENAI_API_KEY": "x"}, "Bearer sk-from-file")):
        with ChatServer(lambda asked: error(500, f"you sent {asked.headers.get('authorization')}")
                        if asked.number == 0 else rating(5)) as server:
            out = f"out{len(more)}{len(env)}{expected and expected[-4:]}"
            done = run("--log-level", "debug", *data.score_args(server.url, *more, out=out), env=environment(**env))
            equal(done.returncode, 0, f"exit code: {done.stderr}")
            equal({asked.headers.get("authorization") for asked in server.asked}, {expected}, "Authorization")
            for file in (folder / out).rglob("*"):
                check(b"sk-" not in file.read_bytes(), f"{file} holds the key")
            check("sk-" not in done.stdout + done.stderr, f"the key is shown: {done.stderr}")


def test_certificates_are_verified(folder):
    data = JudgeSet(folder, 2)
    certificate, key = folder / "server.pem", folder / "server.key"
    subprocess.run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
                    "-addext", "subjectAltName=IP:127.0.0.1", "-out", certificate, "-keyout", key],
                   check=True, capture_output=True)
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(certificate, key)
    with ChatServer(lambda asked: rating(5), tls=tls) as server:
        done = run(*data.score_args(server.url))
        equal(done.returncode, 1, "exit code with an unknown certificate")
        check("certificate" in done.stderr, f"stderr: {done.stderr}")
        equal(len(server.asked), 0, "requests before the certificate was trusted")
        near(data.score(server.url, "--ca-file", certificate)["final"], 50, "final with --ca-file")


def test_proxies_of_the_environment_hold(folder):
    data = JudgeSet(folder, 2)
    with ChatServer(lambda asked: rating(5)) as proxy:
        address = f"http://127.0.0.1:{proxy.port}"
        data.score("http://judge.invalid/v1", env=environment(http_proxy=address))
        equal({asked.target for asked in proxy.asked}, {"http://judge.invalid/v1/chat/completions"}, "asked of the proxy")


def test_the_rate_limit_holds(folder):
    data = JudgeSet(folder, 10)
    with ChatServer(lambda asked: rating(5)) as server:
        began = time.monotonic()
        data.score(server.url, "--requests-per-minute", "600", "--parallel", "8")
        took = time.monotonic() - began
        came = [asked.came for asked in server.asked]
        # 30 requests, 0.1 s apart; a busy machine may see some of them late, so that the next ones look early.
        check(took >= 2.85, f"30 requests took {took:.2f} s")
        for i in range(20):
            check(came[i + 10] - came[i] >= 0.65, f"requests {i} to {i + 10} came within {came[i + 10] - came[i]:.2f} s")


def test_parallel_is_the_most_at_once(folder):
    data = JudgeSet(folder, 10)
    with ChatServer(lambda asked: Reply(body=completion("Rating: [[5]]"), delay=0.1)) as server:
        data.score(server.url, "--parallel", "5")
        events = sorted([(a.came, 1) for a in server.asked] + [(a.sent, -1) for a in server.asked])
        running, most = 0, 0
        for _, step in events:
            running += step
            most = max(most, running)
        equal(most, 5, "requests at once")


def test_repeats_show_the_judges_noise(folder):
    data = JudgeSet(folder, 4)
    count = attempts()
    with ChatServer(lambda asked: rating({1: 4, 2: 6, 3: 8}[count(asked)[1]])) as server:
        scores = data.score(server.url, "--repeats", "3", "--parallel", "1")
        equal(len(server.asked), 3 * 12, "requests")
        for task in TASKS:
            near(scores["tasks"][task]["official"], 60, task)
            near(scores["tasks"][task]["repeat_deviation"], 20, f"{task}: deviation of 40, 60, 80")
        rows = data.items()
        equal(len(rows), 36, "rows")
        equal(sorted({row["repeat"] for row in rows}), [0, 1, 2], "repeats")
        equal(data.score(server.url, "--repeats", "2")["spent"]["requests"], 0, "requests for two of the three repeats")


def test_several_judges(folder):
    data = JudgeSet(folder, 3)
    with ChatServer(lambda asked: rating({"a": 2, "b": 4}[asked.json["model"]])) as server:
        done = run("score", *data.input(), "--judge", "openai,text", "--base-url", server.url, "--model", "a,b", "--out",
                   folder / "out", "--format", "json")
        scores = json.loads(done.stdout)
        equal(list(scores["judges"]), ["openai:a", "openai:b", "text"], "judges")
        near(scores["judges"]["openai:b"]["final"], 40, "the second judge's final")
        near(scores["final"], 20, "the first judge's final is the score")
        equal(scores["model"], "a", "the first judge's model")


if __name__ == "__main__":
    sys.exit(run_tests([value for name, value in list(globals().items()) if name.startswith("test_")]))
