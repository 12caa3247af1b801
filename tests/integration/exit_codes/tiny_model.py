"""A model directory small enough to be made within a second, and ways to spoil it."""

import atexit
import functools
import json
import pathlib
import shutil
import subprocess
import tempfile

import coda
from harness import BIN

SPECIAL = ["<image>", "<|im_start|>", "<|im_end|>"]
SIZES = ["model.vision.image_height=32", "model.vision.image_width=64", "model.vision.stem_width=4",
         "model.vision.hidden_size=16", "model.vision.intermediate_size=20", "model.vision.layers=1",
         "model.vision.heads=2", "model.projector.merge=2", "model.language.hidden_size=24",
         "model.language.intermediate_size=20", "model.language.layers=2", "model.language.heads=4",
         "model.language.kv_heads=2"]
SETS = [arg for size in SIZES for arg in ("--set", size)]


def byte_characters():
    """The character that byte-level BPE writes for each byte."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    return [chr(byte) for byte in shown] + [chr(256 + i) for i in range(len(hidden))]


def make_tokenizer(folder, special=SPECIAL):
    """{folder}/tokenizer/tokenizer.json: a token a byte, and the special ones."""
    vocabulary = {character: i for i, character in enumerate(byte_characters())}
    added = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False,
              "normalized": False, "special": True} for i, text in enumerate(special)]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    value = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "normalizer": None,
             "pre_tokenizer": byte_level, "post_processor": None, "decoder": byte_level,
             "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                       "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": False,
                       "vocab": vocabulary, "merges": []}}
    (folder / "tokenizer").mkdir()
    (folder / "tokenizer" / "tokenizer.json").write_text(json.dumps(value))


@functools.lru_cache(maxsize=None)
def built():
    """The model directory, made once a table."""
    folder = pathlib.Path(tempfile.mkdtemp(prefix="mose_tiny_model_"))
    atexit.register(shutil.rmtree, folder)
    make_tokenizer(folder)
    subprocess.run([BIN / "mose-model", "init", "--quiet", "--tokenizer", folder / "tokenizer", *SETS, "--out",
                    folder / "model"], check=True, stdout=subprocess.DEVNULL)
    return folder / "model"


def make(folder):
    """{folder}/model."""
    return pathlib.Path(shutil.copytree(built(), folder / "model"))


def make_with_set(folder):
    """{folder}/model and {folder}/CODA."""
    make(folder)
    coda.make(folder)


def spoilt(name, change, before=lambda folder: None):
    """An `arrange` that makes the model and replaces the bytes of its file `name` by change(bytes)."""

    def arrange(folder):
        before(folder)
        file = make(folder) / name
        file.write_bytes(change(file.read_bytes()))

    return arrange


def without(name):
    def arrange(folder):
        (make(folder) / name).unlink()

    return arrange


def first_half(content):
    return content[:len(content) // 2]
