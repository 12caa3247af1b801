"""One recipe on 1, 2 and 4 processes: the same losses and weights; killed, stopped and resumed on other numbers of
processes; a hung one named. Gloo on this machine; with NCCL it is the same code above the collectives."""

import collections
import json
import math
import pathlib
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
from runs import BIN, SMOKE, check, json_stages, make_scenes, metrics, model_hash, start_processes
from safetensors.numpy import load_file, save_file

PARTS = 4    # of a global batch, in every stage
FAULTS = 20  # ranks or whole jobs killed over one run


class Job:
    """mose-train on `world` processes, as torchrun would start them."""

    def __init__(self, data, run, world, *more, timeout=10):
        self.logs = [tempfile.TemporaryFile("w+") for _ in range(world)]
        # With its usual epsilon Adam moves a weight whose gradient is nothing but rounding as far as any other.
        stages = [f"--set=stages.{name}.{key}" for name in ("projector", "dense", "finetune")
                  for key in (f"accumulate={PARTS}", "optimizer.epsilon=0.001")]
        command = [BIN / "mose-train", "--quiet", "--config", SMOKE, f"--set=data.root={data}",
                   "--set=data.loader.batch_samples=8", "--set=log_every=1", "--set=checkpoint_every=2", "--set=threads=1", *stages,
                   "--timeout", timeout, "--join-timeout", 10, "--run", run, *more]
        self.ranks = start_processes(world, command, self.logs)

    def wait(self, limit=400):
        end = time.time() + limit
        codes = []
        for process in self.ranks:
            try:
                codes.append(process.wait(max(0.1, end - time.time())))
            except subprocess.TimeoutExpired:
                for p in self.ranks:
                    p.kill()
                sys.exit(f"FAILED: a process hung for {limit} s: {self.said()}")
        return codes

    def said(self):
        out = []
        for log in self.logs:
            log.seek(0)
            out.append(log.read())
        return "\n".join(out)


def finish(data, run, world, *more):
    job = Job(data, run, world, *more)
    codes = job.wait()
    check(codes == [0] * world, f"{world} processes ended with {codes}: {job.said()}")


def same_weights(a, b):
    return model_hash(a / "model") == model_hash(b / "model")


def worst_loss(a, b):
    a, b = metrics(a), metrics(b)
    check([(x["step"], x["stage"]) for x in a] == [(x["step"], x["stage"]) for x in b], "other steps")
    return max(abs(x[k] - y[k]) / max(1, abs(x[k])) for x, y in zip(a, b) for k in x if k.startswith("loss"))


def worst_weight(a, b):
    a, b = (load_file(run / "model/model.safetensors") for run in (a, b))
    return max(float(np.abs(a[k] - b[k]).max() / np.abs(a[k]).max().clip(1e-6)) for k in a)


def check_numbers_of_processes(folder, data):
    for world in (1, 2, 4):
        finish(data, folder / f"w{world}", world)
    one, two, four = (folder / f"w{world}" for world in (1, 2, 4))
    # Four processes add their four parts in the order in which one process adds them.
    check(same_weights(four, one), f"4 processes: other weights than 1 ({worst_weight(one, four):.1e})")
    check(metrics(four) == metrics(one), f"4 processes: other metrics than 1 ({worst_loss(one, four):.1e})")
    loss, weight = worst_loss(one, two), worst_weight(one, two)
    check(loss < 1e-5 and weight < 1e-4, f"2 processes: losses differ by {loss:.1e}, weights by {weight:.1e}")
    print(f"1, 2 and 4 processes: 4 as 1 bit for bit; 2 differ by {loss:.1e} in losses, {weight:.1e} in weights", flush=True)
    # Each part is one sample, and none is packed with another. An even number of samples an epoch needs no filling up.
    scenes = "--set=data.loader.mix=" + json.dumps({"region_perception": 0})
    pairs, alone = folder / "pairs", folder / "alone"
    finish(data, pairs, 1, scenes)
    finish(data, alone, 2, scenes, *(f"--set=stages.{name}.accumulate=8" for name in ("projector", "dense", "finetune")))
    loss, weight = worst_loss(pairs, alone), worst_weight(pairs, alone)

    check(loss < 1e-5 and weight < 1e-4, f"sample by sample on 2 processes: losses differ by {loss:.1e}, weights by {weight:.1e}")
    print(f"sample by sample on 2 processes, packed by twos on 1: losses differ by {loss:.1e}, weights by {weight:.1e}", flush=True)
    said = Job(data, folder / "w3", 3)
    codes = said.wait()
    check(codes == [2, 2, 2] and "accumulate" in said.said(), f"3 processes for 4 parts: {codes}: {said.said()}")


def check_stop_and_resume(folder, data):
    run = folder / "stopped"
    job = Job(data, run, 2)
    while not (run / "metrics.jsonl").exists() or len((run / "metrics.jsonl").read_text().splitlines()) < 6:
        check(all(p.poll() is None for p in job.ranks), f"ended early: {job.said()}")
        time.sleep(0.02)
    job.ranks[1].send_signal(signal.SIGTERM)  # one rank is told, all stop
    codes = job.wait()
    check(codes == [143, 143], f"SIGTERM to one of two ended with {codes}: {job.said()}")
    finish(data, run, 4, "--resume", "auto")
    loss = worst_loss(folder / "w1", run)
    check(loss < 1e-5, f"stopped on 2 processes, resumed on 4: losses differ by {loss:.1e}")
    print(f"stopped on 2 processes, resumed on 4: losses differ by {loss:.1e}", flush=True)


def check_sharded(folder, data):
    """The optimizer's state divided over four processes, and taken up again by one that has it whole."""
    run = folder / "sharded"
    finish(data, run, 4, "--set=shard_optimizer=true", "--set=keep_checkpoints=100")
    loss, weight = worst_loss(folder / "w4", run), worst_weight(folder / "w4", run)
    check(loss < 1e-5 and weight < 1e-4, f"sharded state: losses differ by {loss:.1e}, weights by {weight:.1e}")
    saved = sorted((run / "checkpoints").glob("step_*"))
    shares = [p for p in saved if len(list(p.glob("optimizer.*"))) == 4]
    check(shares, "no checkpoint has four shares of the optimizer's state")
    for checkpoint in saved[saved.index(shares[-1]) + 1:]:
        shutil.rmtree(checkpoint)
    finish(data, run, 1, "--resume", "auto")
    again = worst_loss(folder / "w4", run)
    check(again < 1e-5, f"sharded, then resumed by one process: losses differ by {again:.1e}")
    print(f"optimizer's state over 4 processes: losses differ by {loss:.1e}, weights by {weight:.1e}; resumed by one: {again:.1e}", flush=True)


def check_experts(folder, data):
    """Experts divided over processes, alone and together with data parallelism and divided optimizer state; a checkpoint of
    that is taken up by one process, and one of one process by two that share experts."""
    for world, sharing, sharded in ((2, 2, False), (4, 2, True), (4, 4, False)):
        run = folder / f"experts{world}{sharing}"
        finish(data, run, world, f"--set=expert_parallel={sharing}", f"--set=shard_optimizer={json.dumps(sharded)}", "--set=samples=1",
               "--set=sample_tokens=4", "--set=keep_checkpoints=100")
        loss, weight = worst_loss(folder / "w1", run), worst_weight(folder / "w1", run)
        check(loss < 1e-5 and weight < 1e-4, f"experts over {sharing} of {world}: losses differ by {loss:.1e}, weights by {weight:.1e}")
        print(f"experts over {sharing} of {world} processes{', state divided' if sharded else ''}: losses differ by {loss:.1e}, "
              f"weights by {weight:.1e}", flush=True)
    # From the middle of the last stage: 7 steps are left.
    for source, target, world, sharing in (("experts42", "merged", 1, 1), ("merged", "divided", 2, 2)):
        run = folder / target
        shutil.copytree(folder / source, run)
        for checkpoint in sorted((run / "checkpoints").glob("step_*")):
            if int(checkpoint.name.removeprefix("step_")) > 44:
                shutil.rmtree(checkpoint)
        finish(data, run, world, "--resume", "auto", f"--set=expert_parallel={sharing}", "--set=keep_checkpoints=100")
        loss, weight = worst_loss(folder / "w1", run), worst_weight(folder / "w1", run)
        check(loss < 1e-5 and weight < 1e-4, f"{source} resumed by {world}: losses differ by {loss:.1e}, weights by {weight:.1e}")
    said = Job(data, folder / "odd", 2, "--set=expert_parallel=2", "--set=moe.experts=5")
    check(said.wait() == [2, 2] and "5 experts cannot be divided over 2 processes" in said.said(), f"5 experts over 2: {said.said()}")


def check_divergence_of_one(folder, data):
    """One process meets a weight that is not a number: all end in the same step with the same words, and leave a checkpoint."""
    def stages(steps):
        return "--set=" + json_stages([{"name": "dense", "kind": "dense", "steps": steps, "accumulate": PARTS}])

    plain, poisoned = folder / "untied", folder / "poisoned"
    finish(data, plain, 1, "--set=model.language.tie_embeddings=false", stages(1))
    # The embedding of a token that one picture's texts alone have.
    texts = "\n".join(file.read_text().replace("\n", " ") for file in (data / "CODA-LM/Train").glob("*.json"))
    lines = subprocess.run([BIN / "mose-model", "tokenize", "--model", plain / "model"], input=texts, capture_output=True, text=True, check=True)
    counts = [collections.Counter(json.loads(line)) for line in lines.stdout.splitlines()]
    pictures = collections.Counter(token for count in counts for token in count)
    rare = max((count[token], token) for count in counts for token in count if pictures[token] == 1)[1]
    shutil.copytree(plain / "model", poisoned)
    weights = load_file(poisoned / "model.safetensors")
    weights["model.language_model.embed_tokens.weight"][rare] = math.nan
    save_file(weights, poisoned / "model.safetensors")
    job = Job(data, folder / "diverged", 2, f"--set=init_from={poisoned}", stages(30))
    codes = job.wait()
    steps = re.findall(r"step (\d+): loss nan", job.said())
    check(codes == [4, 4] and len(steps) == 2 and steps[0] == steps[1], f"a loss that is not finite ended with {codes}: {job.said()}")
    check(any((folder / "diverged/checkpoints").glob("step_*/DONE")), "divergence left no checkpoint")
    print(f"both processes ended in step {steps[0]}, where the loss is not finite", flush=True)


def check_hang(folder, data):
    job = Job(data, folder / "hung", 2, timeout=3)
    while not (folder / "hung/metrics.jsonl").exists():
        check(all(p.poll() is None for p in job.ranks), f"ended early: {job.said()}")
        time.sleep(0.02)
    job.ranks[1].send_signal(signal.SIGSTOP)
    since = time.time()
    code = job.ranks[0].wait(60)
    job.ranks[1].kill()
    check(code == 1 and "rank 1" in job.said(), f"a hung rank: exit code {code}: {job.said()}")
    print(f"a hung rank was named after {time.time() - since:.1f} s", flush=True)


def wait_for_lines(job, file, lines):
    """Until the run has written so many lines of metrics more, or has ended."""
    seen, last = 0, None
    while seen < lines and all(p.poll() is None for p in job.ranks):
        now = (file.stat().st_mtime_ns, file.stat().st_size) if file.exists() else None
        seen += now != last
        last = now
        time.sleep(0.002)


def check_faults(folder, data):
    """Ranks and whole jobs killed at random moments; what remains ends by itself, and the end is the undisturbed one's."""
    run, whole, dice, faults, starts = folder / "faults", folder / "whole", random.Random(5), 0, 0
    longer = ("--set=stages.dense.steps=70", "--set=stages.finetune.steps=70")
    finish(data, whole, 4, *longer)
    while faults < FAULTS:
        starts += 1
        job = Job(data, run, 4, "--resume", "auto", *longer)
        if dice.random() < 0.3:
            time.sleep(dice.uniform(0, 1.5))  # while the processes meet, or read
        else:
            wait_for_lines(job, run / "metrics.jsonl", dice.randint(1, 9))
        for process in job.ranks if dice.random() < 0.3 else [dice.choice(job.ranks)]:
            process.kill()
        codes = job.wait(60)
        check(codes != [0] * 4, f"the run ended after {faults} kills: too short for this test")
        check(all(code != 0 for code in codes), f"ranks went on without another: {codes}")
        faults += 1
    check(list((run / "checkpoints").glob("step_*")), "the run made no way")
    finish(data, run, 4, "--resume", "auto", *longer)
    check(same_weights(run, whole), f"after {faults} kills: other weights ({worst_weight(whole, run):.1e})")
    check(metrics(run) == metrics(whole), "after kills: other metrics")
    print(f"{faults} kills over one run: the weights of the undisturbed run, bit for bit", flush=True)


def main():
    with tempfile.TemporaryDirectory(prefix="mose_parallel_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 10, 3, 2, 3)
        for test in (check_numbers_of_processes, check_stop_and_resume, check_sharded, check_experts, check_divergence_of_one, check_hang, check_faults):
            test(folder, data)
    print("train_parallel: passed")


if __name__ == "__main__":
    main()
