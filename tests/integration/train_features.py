"""Features of a tower that does not learn, kept on disk: no bit of a run changes, with a cold cache or a warm one, in every
precision, on several processes and resumed; what is kept is never that of another image, tower or precision."""

import json
import pathlib
import re
import shutil
import subprocess
import tempfile

from runs import BIN, SMOKE, check, make_scenes, metrics, model_hash
from train_parallel import Job

FROZEN = [f'--set=stages.{name}.trainable=["*", "!model.vision_tower.*"]' for name in ("dense", "finetune")]
COUNTS = re.compile(r"stage (\w+): features: (\d+) read, (\d+) computed, (\d+) damaged")


def train(data, run, *more, code=0):
    command = [BIN / "mose-train", "--quiet", "--config", SMOKE, f"--set=data.root={data}", "--set=log_every=1", "--run", run, *more]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=500)
    check(done.returncode == code, f"{' '.join(map(str, more))}: exit code {done.returncode}: {done.stderr}")
    return run


def use(cache):
    return f"--set=data.feature_cache={cache}"


def files(cache):
    return sorted(cache.rglob("*.safetensors"))


def counts(run):
    """(read, computed, damaged) of each stage that took features."""
    return {stage: tuple(map(int, numbers)) for stage, *numbers in COUNTS.findall((run / "log.txt").read_text())}


def computed(run):
    return sum(c[1] for c in counts(run).values())


def check_same(run, plain):
    check(model_hash(run / "model") == model_hash(plain / "model"), f"{run.name}: other weights than {plain.name}")
    check(metrics(run) == metrics(plain), f"{run.name}: other metrics than {plain.name}")
    check(json.loads((run / "routing.json").read_text()) == json.loads((plain / "routing.json").read_text()),
          f"{run.name}: another routing.json than {plain.name}")


def check_cold_and_warm(folder, data):
    cache = folder / "features"
    plain = train(data, folder / "plain", *FROZEN)
    cold, warm = (train(data, folder / name, *FROZEN, use(cache)) for name in ("cold", "warm"))
    check_same(cold, plain)
    check_same(warm, plain)
    check(list(counts(cold)) == ["projector", "dense", "router", "finetune"], f"cold: {counts(cold)}")
    check(0 < computed(cold) == len(files(cache)), f"cold: {counts(cold)}, {len(files(cache))} files")
    check(computed(warm) == 0 and all(read > 0 for read, _, _ in counts(warm).values()), f"warm: {counts(warm)}")
    check(not counts(plain), "features without a cache")
    # From the middle of the last stage.
    shutil.rmtree(max((warm / "checkpoints").glob("step_*")))
    shutil.rmtree(warm / "model")
    train(data, warm, *FROZEN, use(cache), "--resume", "auto")
    check("resuming from" in (warm / "log.txt").read_text(), "not resumed")
    check(model_hash(warm / "model") == model_hash(plain / "model"), "resumed: other weights")
    # Damage.
    victim = files(cache)[0]
    victim.write_bytes(victim.read_bytes()[:-1])
    healed = train(data, folder / "healed", *FROZEN, use(cache))
    check_same(healed, plain)
    check(computed(healed) == 1 and sum(c[2] for c in counts(healed).values()) >= 1, f"damaged: {counts(healed)}")
    check(str(victim) in (healed / "log.txt").read_text(), "the damaged file is not named")


def check_precision(folder, data):
    cache = folder / "features"
    for precision in ("autocast", "bfloat16"):
        modes = [f"--set=precision={precision}", "--set=recompute=true", *FROZEN]
        before = len(files(cache))
        plain = train(data, folder / precision, *modes)
        cold, warm = (train(data, folder / f"{precision}_{name}", *modes, use(cache)) for name in ("cold", "warm"))
        check_same(cold, plain)
        check_same(warm, plain)
        check(computed(cold) == computed(folder / "cold") and computed(warm) == 0, f"{precision}: {counts(cold)}, {counts(warm)}")
        check(len(files(cache)) == before + computed(cold), f"{precision}: {len(files(cache))} files")


def check_a_tower_that_learns(folder, data):
    plain = train(data, folder / "learning")
    for name in ("learning_cold", "learning_warm"):
        run = train(data, folder / name, use(folder / "features"))
        check_same(run, plain)
        check(list(counts(run)) == ["projector", "router"], f"{name}: {counts(run)}")
        check("stage dense: data.feature_cache is not used" in (run / "log.txt").read_text(), f"{name}: does not say so")
    check(computed(run) == 0, f"warm: {counts(run)}")


def check_another_image(folder, data):
    modes = ["--set=calibrate=0", *FROZEN]  # a new tower is scaled to the images, and would be another
    before = train(data, folder / "before", *modes, use(folder / "features"))
    others = make_scenes(folder / "others", 8, 3, 2, 9)
    image = min((data / "val/images").iterdir())
    shutil.copy(others / "val/images" / image.name, image)
    plain = train(data, folder / "changed_plain", *modes)
    run = train(data, folder / "changed", *modes, use(folder / "features"))
    check(model_hash(plain / "model") != model_hash(before / "model"), "the other image changes nothing")
    check_same(run, plain)
    check(computed(before) > 1 and computed(run) == 1, f"one image changed: {counts(before)}, then {counts(run)}")


def check_processes(folder, data):
    cache = folder / "shared"
    for name, more in (("two", []), ("two_cold", [use(cache)]), ("two_warm", [use(cache)])):
        job = Job(data, folder / name, 2, *FROZEN, *more, timeout=60)
        codes = job.wait()
        check(codes == [0, 0], f"{name}: {codes}: {job.said()}")
    for name in ("two_cold", "two_warm"):
        check_same(folder / name, folder / "two")
    check(computed(folder / "two_warm") == 0, f"{counts(folder / 'two_warm')}")


def check_other_pixels(folder, data):
    for key, value in (("blind", "true"), ("augment_brightness", "0.1")):
        cache = folder / f"unused_{key}"
        run = train(data, folder / key, *FROZEN, f"--set=data.loader.{key}={value}", use(cache))
        check(f"data.feature_cache is not used: data.loader.{key}" in (run / "log.txt").read_text(), f"{key}: not told")
        check(not cache.exists() and not counts(run), f"{key}: {counts(run)}")


def main():
    with tempfile.TemporaryDirectory(prefix="mose_features_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 8, 3, 2, 3)
        for test in (check_cold_and_warm, check_precision, check_a_tower_that_learns, check_processes, check_other_pixels, check_another_image):
            test(folder, data)
            print(test.__name__, flush=True)
        (folder / "file").write_text("")
        said = subprocess.run([BIN / "mose-train", "--quiet", "--config", SMOKE, f"--set=data.root={data}", use(folder / "file"), "--run",
                               folder / "no_folder"], capture_output=True, text=True)
        check(said.returncode == 1 and str(folder / "file") in said.stderr, f"a file for a folder: {said.returncode}: {said.stderr}")
    print("train_features: passed")


if __name__ == "__main__":
    main()
