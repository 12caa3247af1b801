"""JPEG to model input: Pillow, or torchvision, with transformers' image processors."""

import pathlib
import time

import numpy as np
import torch
from PIL import Image
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.llava.image_processing_pil_llava import LlavaImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

PACKAGES = ["pillow", "transformers", "torchvision", "numpy"]
torch.set_num_threads(1)
state = {}


def square(side):
    return {"height": side, "width": side}


SETTINGS = {
    "clip": dict(size={"shortest_edge": 336}, crop_size=square(336)),
    "siglip": dict(size=square(384)),
    "llava": dict(size={"shortest_edge": 336}, crop_size=square(336), do_pad=True),
}
CLASSIC = {"clip": CLIPImageProcessorPil, "siglip": SiglipImageProcessorPil, "llava": LlavaImageProcessorPil}


def make_pictures(folder, width, height, count):
    """Smooth shapes with grain, at quality 90: about as many bits a pixel as photographs have."""
    draw = np.random.default_rng(width)
    state["files"] = []
    for i in range(count):
        small = draw.integers(0, 256, (height // 30, width // 30, 3), np.uint8)
        smooth = np.asarray(Image.fromarray(small).resize((width, height), Image.Resampling.BICUBIC)).astype(int)
        grain = draw.integers(-8, 9, (height, width, 1))
        state["files"].append(str(pathlib.Path(folder) / f"{width}x{height}_{i}.jpg"))
        Image.fromarray(np.clip(smooth + grain, 0, 255).astype(np.uint8)).save(state["files"][-1], quality=90)
    return {"files": state["files"]}


def classic(file):
    return state["classic"](Image.open(file), return_tensors="np")["pixel_values"][0]


def fast(file):
    bytes_of_file = torch.from_numpy(np.fromfile(file, np.uint8))
    pixels = state["decode_jpeg"](bytes_of_file, mode=state["rgb"])
    return state["fast"](pixels, return_tensors="pt")["pixel_values"][0].numpy()


def choose(folder, processor):
    """Writes preprocessor_config.json and values, the reference's of every file."""
    state["classic"] = CLASSIC[processor](**SETTINGS[processor])
    (pathlib.Path(folder) / "preprocessor_config.json").write_text(state["classic"].to_json_string())
    values = np.stack([classic(file) for file in state["files"]])
    values.tofile(pathlib.Path(folder) / "values")
    return {"shape": values.shape, "std": list(map(float, state["classic"].image_std))}


def choose_fast(processor):
    from torchvision.io import ImageReadMode, decode_jpeg
    from transformers import CLIPImageProcessor, LlavaImageProcessor, SiglipImageProcessor
    kind = {"clip": CLIPImageProcessor, "siglip": SiglipImageProcessor, "llava": LlavaImageProcessor}[processor]
    state.update(fast=kind(**SETTINGS[processor]), decode_jpeg=decode_jpeg, rgb=ImageReadMode.RGB)
    shapes = {classic(file).shape == fast(file).shape for file in state["files"]}
    assert shapes == {True}, "the two processors give frames of different sizes"
    return {}


def run(way):
    work = {"classic": classic, "fast": fast, "decode": lambda file: Image.open(file).load()}[way]
    began = time.process_time()
    for file in state["files"]:
        work(file)
    return {"seconds": time.process_time() - began}
