#!/usr/bin/env python3
"""How fast mose-eval judges 5,000 items with a server that answers in 50 ms, and what it costs in memory.

    scripts/bench/judge_throughput.py [--out docs/results/judge_throughput.json]

Three runs: bound by the number of requests at once (32, so 640 a second at most), bound by a rate limit (400 a
second), and one whose verdicts are all in the cache. `share` is the throughput over what that bound allows, the
program's start and reading of the set included. A client that does nothing but send the same bodies over 32
connections shows what the machine and the server, which is a Python program, allow themselves.
"""

import argparse
import asyncio
import json
import os
import pathlib
import platform
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
os.environ.setdefault("MOSE_BIN", str(ROOT / "build" / "bin"))
sys.path.insert(0, str(ROOT / "tests" / "support"))
from chat_server import ChatServer, Reply, completion  # noqa: E402
from judge_set import BIN, JudgeSet, environment  # noqa: E402

DELAY, PARALLEL, PER_MINUTE = 0.05, 32, 24000


def processor():
    names = [line.split(":")[1].strip() for line in open("/proc/cpuinfo") if line.startswith("model name")]
    return f"{os.cpu_count()} x {names[0] if names else platform.machine()}"


def measure(arguments):
    """(seconds, peak resident MiB) of one run."""
    began = time.monotonic()
    process = subprocess.Popen([BIN / "mose-eval", "--quiet", *map(str, arguments)], stdout=subprocess.DEVNULL,
                               env=environment())
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"mose-eval ended with status {status}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


async def send_all(port, bodies):
    """Each body once, over PARALLEL connections."""
    left = iter(bodies)

    async def connection():
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for body in left:
            writer.write(b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
            head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
            await reader.readexactly(int(head.split("content-length:")[1].split("\r\n")[0]))
        writer.close()

    await asyncio.gather(*(connection() for _ in range(PARALLEL)))


def bare_client(port, file):
    """Runs in a process of its own: the file holds a list of bodies."""
    bodies = [body.encode() for body in json.loads(pathlib.Path(file).read_text())]
    began = time.monotonic()
    asyncio.run(send_all(port, bodies))
    print(time.monotonic() - began)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--items", type=int, default=5000)
    parser.add_argument("--out", type=pathlib.Path)
    parser.add_argument("--bare-client", nargs=2, metavar=("PORT", "FILE"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.bare_client:
        return bare_client(int(options.bare_client[0]), options.bare_client[1])

    reply = Reply(body=completion("The answer names what matters and leaves out little.\nRating: [[7]]"), delay=DELAY)
    with tempfile.TemporaryDirectory() as folder, ChatServer(lambda asked: reply) as server:
        data = JudgeSet(folder, -(-options.items // 3))
        items = 3 * data.scenes
        result = {"items": items, "delay_ms": DELAY * 1000, "machine": processor(), "runs": []}

        def run(name, allowed, *more, out):
            before = len(server.asked)
            busy = os.getloadavg()[0]
            seconds, memory = measure(data.score_args(server.url, *more, out=out))
            row = {"name": name, "requests": len(server.asked) - before, "seconds": round(seconds, 2),
                   "items_per_second": round(items / seconds, 1), "allowed_per_second": allowed,
                   "share": round(items / seconds / allowed, 3) if allowed else None, "peak_resident_mib": round(memory, 1)}
            times = [asked.sent - asked.came for asked in server.asked[before:]]
            if times:  # a busy machine makes the server slower than its 50 ms
                row["server_ms"] = round(1000 * sum(times) / len(times), 1)
            row["load_before"] = round(busy, 2)
            result["runs"].append(row)
            print(json.dumps(row), flush=True)

        run(f"{PARALLEL} at once", PARALLEL / DELAY, "--parallel", PARALLEL, out="parallel")
        bodies = pathlib.Path(folder) / "bodies.json"
        bodies.write_text(json.dumps([asked.body.decode() for asked in server.asked]))
        bare = subprocess.run([sys.executable, __file__, "--bare-client", str(server.port), bodies], check=True,
                              capture_output=True, text=True)
        rate = items / float(bare.stdout)
        result["bare_client"] = {"items_per_second": round(rate, 1), "share": round(rate / (PARALLEL / DELAY), 3)}
        print(json.dumps(result["bare_client"]), flush=True)
        run(f"{PER_MINUTE} a minute", PER_MINUTE / 60, "--parallel", PARALLEL, "--requests-per-minute", PER_MINUTE, out="limit")
        run("from the cache", None, "--parallel", PARALLEL, out="parallel")
    if options.out:
        options.out.write_text(json.dumps(result, indent=2) + "\n")
        print(f"wrote {options.out}")


if __name__ == "__main__":
    main()
