"""Hugging Face tokenizers, with the vocabularies of the parity tests."""

import pathlib
import random
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[3] / "tests/parity"))
import tokenizers_test as families  # noqa: E402
from tokenizers import Tokenizer  # noqa: E402

PACKAGES = ["tokenizers", "dashscope", "sentencepiece"]
state = {}


def make(folder, family):
    """Writes the family's tokenizer.json, which both sides load."""
    words = [token.decode(errors="ignore") for token in families.qwen_ranks()[1]]
    draw = random.Random(1)
    corpus = ["".join(draw.choice(words) for _ in range(60)).replace("\0", "") for _ in range(3000)]
    _, places, _ = getattr(families, family)(pathlib.Path(folder), corpus)
    state["file"] = str(places[0] / "tokenizer.json")
    return {"file": state["file"]}


def load(shards):
    state["shards"] = shards
    # One for each way, so that each meets the shards for the first time.
    state["fast"], state["plain"] = (Tokenizer.from_file(state["file"]) for _ in range(2))
    return {}


def ids(shard):
    encoded = Tokenizer.from_file(state["file"]).encode_batch(state["shards"][shard], add_special_tokens=False)
    return {"ids": [one.ids for one in encoded]}


def encode(shard, fast):
    texts = state["shards"][shard]
    work = state["fast"].encode_batch_fast if fast else state["plain"].encode_batch
    began = time.process_time()
    encoded = work(texts, add_special_tokens=False)
    seconds = time.process_time() - began
    assert len(encoded) == len(texts)
    return {"seconds": seconds}
