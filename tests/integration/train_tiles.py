"""A model that sees pictures tile by tile (LLaVA-NeXT's form) from nothing to answers, on pictures of several sizes."""

import json
import pathlib
import tempfile

from PIL import Image
from runs import SMOKE, check, lines_of, make_scenes, run
from safetensors.numpy import load_file

PINPOINTS = [{"width": 256, "height": 64}, {"width": 128, "height": 128}]  # of tiles of 128 x 64


def train(out, *sets, code=0):
    return run("mose-train", "--config", SMOKE, "--set", f"model.grid_pinpoints={json.dumps(PINPOINTS)}",
               *(arg for item in sets for arg in ("--set", item)), "--run", out, code=code)


def widen(data):
    """Every other picture gets a border on its right or below, so that boxes stay where they are and sizes differ."""
    for i, file in enumerate(sorted((data / "val/images").glob("*"))[::2] + sorted((data / "test/images").glob("*"))[::2]):
        picture = Image.open(file).convert("RGB")
        width, height = picture.size
        wider = Image.new("RGB", (2 * width + i, height) if i % 2 else (width, 2 * height + i))
        wider.paste(picture)
        wider.save(file)


def prompt_tokens(model, data, out, *more):
    run("mose-infer", "predict", "--model", model, "--coda", data, "--split", "Test", "--max-new-tokens", 4, "--out", out, *more)
    report = json.loads((out / "predict.json").read_text())
    return report["prompt_tokens"], report["image_encodings"]


def main():
    with tempfile.TemporaryDirectory(prefix="mose_tiles_") as name:
        folder = pathlib.Path(name)
        data, done = make_scenes(folder / "coda", 6, 2, 2, 5), folder / "run"
        widen(data)
        train(done, f"data.root={data}")
        check(all(m["loss"] == m["loss"] for m in lines_of(done) if "loss" in m), "a loss is not a number")
        newlines = [load_file(model / "model.safetensors")["model.image_newline"]
                    for model in (done / "model", *sorted((done / "checkpoints").glob("step_*/model")))]
        check(any((newlines[0] != other).any() for other in newlines[1:]), "the newline does not learn")
        said = run("mose-model", "info", done / "model")
        # 4 x 2 rows a tile: the frame's 8, then 8 x 2 or 4 x 4 cells with a newline a line.
        check("rows an image takes: up to 28, " in said, said)
        tokens, pictures = prompt_tokens(done / "model", data, folder / "out")
        blind, _ = prompt_tokens(done / "model", data, folder / "blind", "--blind")
        check(0 < tokens - blind < 20 * pictures, f"{tokens} prompt tokens of {pictures} pictures, {blind} when blind")

        bad = sorted((data / "val/images").glob("*"))[0]
        bad.write_bytes(b"no picture")  # after the set was prepared
        prepared = f"data.dataset={done / 'data'}"
        said = train(folder / "stops", prepared, code=3)
        check(f"{bad.name}" in said and "sample " in said, said)
        said = train(folder / "skips", prepared, "data.loader.on_bad_sample=skip")
        check("skipped sample" in said and (folder / "skips/model/config.json").exists(), said)
    print("train_tiles: passed")


if __name__ == "__main__":
    main()
