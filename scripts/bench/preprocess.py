#!/usr/bin/env python3
"""JPEG to model input on one core: ours against Pillow with transformers' image processors, on the same files.

    .venv/bin/python scripts/bench/preprocess.py [--bin build/bin] [--rounds 21] [--out docs/results/preprocess.json]

Rounds alternate (ours, theirs, ours again, Pillow's decoding alone), all on one core with one thread, and the
pixels of both are compared first. Times are CPU times, reading the file included, and medians a picture, so
that other programs on the machine count little; noise is how far the two series of ours are apart; limit_share is
Pillow's decoding alone as a share of our whole time."""

import argparse
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import tempfile
import time

os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"
ROOT = pathlib.Path(__file__).resolve().parents[2]

try:
    import numpy as np
    import PIL
    import transformers
    from PIL import Image
    from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
    from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
    from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
except ImportError as error:
    sys.exit(f"{error}; scripts/setup.sh makes an environment that has it: .venv/bin/python {sys.argv[0]}")


def square(side):
    return {"height": side, "width": side}


PROCESSORS = {
    "CLIP, crop 336": CLIPImageProcessorPil(size={"shortest_edge": 336}, crop_size=square(336)),
    "SigLIP, stretch 384": SiglipImageProcessorPil(size=square(384)),
    "LLaVA, pad 336": LlavaImageProcessorPil(size={"shortest_edge": 336}, crop_size=square(336), do_pad=True),
}
SHAPES = [(1280, 720), (1920, 1080)]


def write_pictures(folder, width, height, count):
    """Smooth shapes with grain, at quality 90: about as many bits a pixel as photographs have."""
    random = np.random.default_rng(width)
    files = []
    for i in range(count):
        small = random.integers(0, 256, (height // 30, width // 30, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        grain = random.integers(-8, 9, (height, width, 1))
        files.append(folder / f"{width}x{height}_{i}.jpg")
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(files[-1], quality=90)
    return files


class Ours:
    """The program in one process for all rounds; a line on its input starts the next."""

    def __init__(self, program, folder, rounds, files):
        self.process = subprocess.Popen([program, folder, "time", str(rounds), *map(str, files)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, bufsize=1)
        self.first = True

    def round(self):
        if not self.first:
            self.process.stdin.write("\n")
            self.process.stdin.flush()
        self.first = False
        return float(self.process.stdout.readline())


def compare(program, folder, processor, files):
    out = folder / "values"
    subprocess.run([program, folder, out, *map(str, files)], check=True, stdout=subprocess.DEVNULL)
    theirs = np.stack([processor(Image.open(f), return_tensors="np")["pixel_values"][0] for f in files])
    mine = np.fromfile(out, np.float32).reshape(theirs.shape)
    difference = np.abs(mine - theirs) * np.float32(processor.image_std).reshape(3, 1, 1) * 255
    if difference.max() > 1.01 or (difference > 0.01).mean() > 1e-3:
        sys.exit(f"the pixels differ: {difference.max()} levels")


def timed(work, files):
    begin = time.process_time()
    for file in files:
        work(file)
    return time.process_time() - begin


def measure(program, folder, name, processor, files, rounds):
    (folder / "preprocessor_config.json").write_text(processor.to_json_string())
    compare(program, folder, processor, files)
    ours = Ours(program, folder, 2 * (rounds + 1), files)
    series = {"ours": [], "again": [], "theirs": [], "decode": []}
    for number in range(rounds + 1):  # the first warms up
        first = ours.round()
        theirs = timed(lambda f: processor(Image.open(f), return_tensors="np")["pixel_values"], files)
        again = ours.round()
        decode = timed(lambda f: Image.open(f).load(), files)
        for key, value in {"ours": first, "again": again, "theirs": theirs, "decode": decode}.items():
            if number:
                series[key].append(1000 * value / len(files))
    ours.process.wait()
    median = {key: statistics.median(values) for key, values in series.items()}
    mine = statistics.median(series["ours"] + series["again"])
    return {"name": f"JPEG to input: {name}", "shape": files[0].stem.split("_")[0], "peer": "Pillow + transformers",
            "ours_ms": round(mine, 3), "peer_ms": round(median["theirs"], 3), "ratio": round(median["theirs"] / mine, 2),
            "noise": round(abs(median["ours"] - median["again"]) / mine, 3), "limit_share": round(median["decode"] / mine, 2)}


def cpu_name():
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":")[1].strip()
    return platform.processor()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=pathlib.Path, default=ROOT / "build/bin", help="folder of preprocess_for_parity")
    parser.add_argument("--rounds", type=int, default=21, help="how often each side is timed (at least 15 for a result)")
    parser.add_argument("--pictures", type=int, default=6, help="pictures a round")
    parser.add_argument("--out", type=pathlib.Path, help="also write a JSON file")
    args = parser.parse_args()
    program = args.bin / "preprocess_for_parity"
    if not program.exists():
        sys.exit(f"{program} is not there; scripts/setup.sh --tests builds it")
    core = max(os.sched_getaffinity(0))
    os.sched_setaffinity(0, {core})
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for width, height in SHAPES:
            files = write_pictures(folder, width, height, args.pictures)
            for title, processor in PROCESSORS.items():
                rows.append(measure(program, folder, title, processor, files, args.rounds))
                print("{name:36} {shape:10} ours {ours_ms:7.2f} ms  peer {peer_ms:7.2f} ms  ratio {ratio:5.2f}  noise {noise:.1%}"
                      "  decoding alone {limit_share:.0%} of ours".format(**rows[-1]))
    if args.out:
        result = {"command": f".venv/bin/python scripts/bench/preprocess.py --rounds {args.rounds} --pictures {args.pictures} --out docs/results/{args.out.name}",
                  "cpu": cpu_name(), "cores_used": 1, "time": "CPU, median a picture", "pillow": PIL.__version__, "transformers": transformers.__version__,
                  "numpy": np.__version__, "load_average": round(os.getloadavg()[0], 1), "rows": rows}
        args.out.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__":
    main()
