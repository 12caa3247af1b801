"""What mose-model import takes of memory: the mapped checkpoint, some constant, and what any import takes (LibTorch's
libraries, far more of them in the CUDA form), which the import of a tiny checkpoint shows.

Writes a LLaVA checkpoint of random weights (CLIP and Llama) in float32, in float16, and in float16 as
pytorch_model.bin; tensor by tensor, without transformers. Pages of the mapped checkpoint count into the peak,
though the kernel takes them back when others need room; anonymous memory is what the program keeps."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time

import torch
from safetensors.torch import save_file

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent / "exit_codes"))
import tiny_model  # noqa: E402

BIN = pathlib.Path(os.environ["MOSE_BIN"])
OWN = 100e6  # bytes beside the checkpoint and what a tiny import takes: the largest row or piece converted, buffers
VOCABULARY, WIDTH, FFN, TOWER, IMAGE = 32000, 1024, 4096, 64, 256


def shapes(layers, vocabulary):
    """Names and shapes as transformers writes them, of a decoder of so many layers."""
    tower = "vision_tower.vision_model."
    yield tower + "embeddings.class_embedding", (TOWER,)
    yield tower + "embeddings.patch_embedding.weight", (TOWER, 3, 14, 14)
    yield tower + "embeddings.position_embedding.weight", (5, TOWER)
    norms = ["pre_layrnorm"]
    for layer in range(1):
        at = f"encoder.layers.{layer}."
        norms += [at + "layer_norm1", at + "layer_norm2"]
        linears = [(f"self_attn.{p}_proj", TOWER, TOWER) for p in "qkv"] + [("self_attn.out_proj", TOWER, TOWER), ("mlp.fc1", 2 * TOWER, TOWER),
                                                                         ("mlp.fc2", TOWER, 2 * TOWER)]
        for name, out, into in linears:
            yield f"{tower}{at}{name}.weight", (out, into)
            yield f"{tower}{at}{name}.bias", (out,)
    for norm in norms:
        yield f"{tower}{norm}.weight", (TOWER,)
        yield f"{tower}{norm}.bias", (TOWER,)
    for name, into in (("linear_1", TOWER), ("linear_2", WIDTH)):
        yield f"multi_modal_projector.{name}.weight", (WIDTH, into)
        yield f"multi_modal_projector.{name}.bias", (WIDTH,)
    decoder = "language_model.model."
    yield decoder + "embed_tokens.weight", (vocabulary, WIDTH)
    yield decoder + "norm.weight", (WIDTH,)
    yield "language_model.lm_head.weight", (vocabulary, WIDTH)
    for layer in range(layers):
        at = f"{decoder}layers.{layer}."
        for name in ("input_layernorm", "post_attention_layernorm"):
            yield f"{at}{name}.weight", (WIDTH,)
        for name in "qkvo":
            yield f"{at}self_attn.{name}_proj.weight", (WIDTH, WIDTH)
        for name, out, into in (("gate", FFN, WIDTH), ("up", FFN, WIDTH), ("down", WIDTH, FFN)):
            yield f"{at}mlp.{name}_proj.weight", (out, into)


def make_checkpoint(folder, megabytes, dtype, pickled):
    """A checkpoint of about this size; returns its bytes."""
    vocabulary = VOCABULARY if megabytes > 0 else IMAGE + 44
    bytes_of = lambda layers: dtype.itemsize * sum(torch.Size(shape).numel() for _, shape in shapes(layers, vocabulary))  # noqa: E731
    layers = max(1, round((megabytes * 1e6 - bytes_of(0)) / (bytes_of(1) - bytes_of(0))))
    folder.mkdir()
    noise = torch.randn(1 << 22, generator=torch.Generator().manual_seed(7)).mul_(0.02).to(dtype)  # repeated, which is quicker
    weights = {}
    for name, shape in shapes(layers, vocabulary):
        count = torch.Size(shape).numel()
        weights[name] = noise.repeat(-(-count // noise.numel()))[:count].clone().view(shape)  # torch.save keeps whole storages
    if pickled:
        torch.save(weights, folder / "pytorch_model.bin")
    else:
        save_file(weights, folder / "model.safetensors", {"format": "pt"})
    config = {"model_type": "llava", "image_token_index": IMAGE, "vision_feature_layer": -1,
              "vision_config": {"model_type": "clip_vision_model", "hidden_size": TOWER, "intermediate_size": 2 * TOWER,
                                "num_hidden_layers": 1, "num_attention_heads": 4, "image_size": 28, "patch_size": 14},
              "text_config": {"model_type": "llama", "vocab_size": vocabulary, "hidden_size": WIDTH, "intermediate_size": FFN,
                              "num_hidden_layers": layers, "num_attention_heads": 16, "num_key_value_heads": 16,
                              "rms_norm_eps": 1e-5, "tie_word_embeddings": False}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "preprocessor_config.json").write_text(json.dumps(
        {"size": {"shortest_edge": 28}, "crop_size": {"height": 28, "width": 28}, "do_center_crop": True, "do_resize": True,
         "do_normalize": True, "do_rescale": True, "resample": 3, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}))
    tiny_model.make_tokenizer(folder)
    shutil.move(folder / "tokenizer/tokenizer.json", folder)
    shutil.rmtree(folder / "tokenizer")
    return bytes_of(layers)


def import_peaks(folder, out):
    """Peaks of resident memory and of the anonymous part of it, in bytes, and seconds."""
    started = time.monotonic()
    program = subprocess.Popen([BIN / "mose-model", "import", "--from", folder, "--out", out], stdout=subprocess.DEVNULL)
    resident = anonymous = 0
    while program.poll() is None:
        try:
            status = dict(line.split(":", 1) for line in pathlib.Path(f"/proc/{program.pid}/status").read_text().splitlines())
        except OSError:
            continue
        if "VmHWM" in status:
            resident = max(resident, 1024 * int(status["VmHWM"].split()[0]))
            anonymous = max(anonymous, 1024 * int(status["RssAnon"].split()[0]))
        time.sleep(0.002)
    if program.returncode != 0:
        sys.exit(f"FAILED: import ended with {program.returncode}")
    return resident, anonymous, time.monotonic() - started


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=400, help="size of each checkpoint")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="mose_import_memory_") as name:
        folder = pathlib.Path(name)
        tiny = make_checkpoint(folder / "hf", 0, torch.float32, False)
        base, base_anonymous, _ = import_peaks(folder / "hf", folder / "ours")
        print(f"a tiny one: {tiny / 1e6:.0f} MB; peak {base / 1e6:.0f} MB, anonymous {base_anonymous / 1e6:.0f} MB")
        for made in ("hf", "ours"):
            shutil.rmtree(folder / made)
        for label, dtype, pickled in (("float32", torch.float32, False), ("float16", torch.float16, False),
                                      ("float16, pytorch_model.bin", torch.float16, True)):
            size = make_checkpoint(folder / "hf", arguments.megabytes, dtype, pickled)
            resident, anonymous, seconds = import_peaks(folder / "hf", folder / "ours")
            print(f"{label}: {size / 1e6:.0f} MB; peak {resident / 1e6:.0f} MB = {resident / size:.2f} of it, anonymous "
                  f"{anonymous / 1e6:.0f} MB; {seconds:.1f} s")
            if resident - base > size + OWN or anonymous - base_anonymous > OWN:
                sys.exit(f"FAILED: {label}: expected at most {OWN / 1e6:.0f} MB beside the mapped checkpoint and a tiny import")
            for made in ("hf", "ours"):
                shutil.rmtree(folder / made)
    print("import memory: passed")


if __name__ == "__main__":
    main()
