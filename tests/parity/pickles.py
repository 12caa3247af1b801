"""Checkpoints that torch.save writes: the tensors that torch.load gives, and nothing run on the way."""

import collections
import json
import os
import pathlib
import pickle
import subprocess
import sys
import tempfile
import zipfile

import torch
from safetensors.torch import save_file

BIN = pathlib.Path(os.environ["MOSE_BIN"])
TYPES = [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.int32, torch.int16, torch.int8,
         torch.uint8, torch.bool]
FORMS = [{"pickle_protocol": protocol, "_use_new_zipfile_serialization": new} for protocol in (2, 3, 4, 5) for new in (True, False)]


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def run(*args, code=0):
    done = subprocess.run([BIN / "mose-model", *map(str, args)], capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == code, f"mose-model {' '.join(map(str, args))}: exit code {done.returncode}: {done.stdout}{done.stderr}")
    return done.stdout + done.stderr


def all_bits(dtype, shape):
    """Random bytes as this type, NaNs included."""
    if dtype == torch.bool:
        return torch.randint(0, 2, shape).bool()
    return torch.randint(0, 256, (*shape[:-1], shape[-1] * dtype.itemsize), dtype=torch.uint8).view(dtype)


class Net(torch.nn.Module):
    """Tied weights, buffers, a frozen parameter."""

    def __init__(self):
        super().__init__()
        self.embed = torch.nn.Embedding(11, 6)
        self.norm = torch.nn.BatchNorm1d(6)
        self.head = torch.nn.Linear(6, 11, bias=False)
        self.head.weight = self.embed.weight
        self.frozen = torch.nn.Parameter(torch.randn(3), requires_grad=False)
        self.register_buffer("position_ids", torch.arange(7).expand((1, -1)))


def state_dicts():
    base = torch.randn(4, 5, 6)
    long = torch.randn(100)
    yield "types", {str(t): all_bits(t, (3, 5)) for t in TYPES}
    yield "views", {"whole": base, "transposed": base.transpose(0, 2), "row": base[2], "last": base[3, 4, 5], "steps": base[:, ::2, 1::3],
                    "expanded": base[0, 0].expand(7, 6), "end": long[90:], "scalar": torch.tensor(3.5), "empty": torch.empty(0, 4),
                    "flat": base.flatten(), "ones": torch.ones(1).expand(2, 3)}
    yield "module", Net().state_dict()
    yield "parameters", collections.OrderedDict(Net().named_parameters())
    yield "names", {"zwölf \"x\" \n\\": torch.ones(2), "": torch.zeros(1), "a" * 300: torch.ones(1)}
    # More entries than a pickler writes in one batch, and more than fit into a byte of the memo.
    yield "many", {f"layers.{i}.weight": torch.full((1, 2), float(i)) for i in range(3000)}


def check_state_dicts(folder):
    for name, state in state_dicts():
        for form in FORMS:
            file = folder / f"{name}.pt"
            torch.save(state, file, **form)
            loaded = torch.load(file, weights_only=False)
            # Copies, because safetensors refuses tensors that share memory.
            save_file({key: value.detach().clone().contiguous() for key, value in loaded.items()}, folder / "same.safetensors")
            check(run("diff", file, folder / "same.safetensors") == "", f"{name}, {form}: differs")
            check(run("hash", file) == run("hash", folder / "same.safetensors"), f"{name}, {form}: another hash")
        changed = {key: value.detach().clone().contiguous() for key, value in loaded.items()}
        key = next(k for k, v in changed.items() if v.numel() and v.dtype == torch.float32)
        changed[key].view(-1)[-1] += 1
        save_file(changed, folder / "other.safetensors")
        check("1 of" in run("diff", file, folder / "other.safetensors", code=1), f"{name}: a changed value is not seen")


def check_shards(folder):
    state = {f"layers.{i}.weight": torch.randn(5, 3) for i in range(6)}
    weight_map = {}
    for i in range(3):
        shard = f"pytorch_model-{i + 1:05d}-of-00003.bin"
        part = {name: value for name, value in list(state.items())[2 * i:2 * i + 2]}
        torch.save(part, folder / shard)
        weight_map |= {name: shard for name in part}
    index = folder / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {"total_size": 360}, "weight_map": weight_map}))
    save_file(state, folder / "same.safetensors")
    check(run("diff", folder, folder / "same.safetensors") == "", "the shards differ")
    (folder / "pytorch_model-00002-of-00003.bin").unlink()
    check("pytorch_model-00002-of-00003.bin: no such file" in run("hash", folder, code=3), "a missing shard")


class Evil:
    """Runs a command when it is unpickled."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def check_nothing_runs(folder):
    marker = folder / "ran"
    evil = Evil(f"touch {marker}")
    states = {"a value": {"weight": torch.ones(2), "evil": evil}, "a key": {evil: torch.ones(2)}, "all": evil,
              "an attribute": torch.nn.Linear(2, 2).state_dict()}
    states["an attribute"]._metadata["evil"] = evil
    for name, state in states.items():
        for form in FORMS:
            file = folder / "evil.bin"
            torch.save(state, file, **form)
            said = run("hash", file, code=3)
            check("system" in said and "refused" in said, f"{name}: {said}")
            check(not marker.exists(), f"{name}, {form}: the command was run")
    pickle.loads(pickle.dumps(evil))
    check(marker.exists(), "the command does nothing, so the test shows nothing")
    # Also behind the state dict, where the older form lists its storages.
    torch.save({"weight": torch.ones(2)}, folder / "evil.bin", _use_new_zipfile_serialization=False)
    marker.unlink()
    (folder / "evil.bin").write_bytes((folder / "evil.bin").read_bytes().split(b"\x80\x02]")[0] + pickle.dumps(evil, 2))
    check("system" in run("hash", folder / "evil.bin", code=3) and not marker.exists(), "the list of storages")


def check_refusals(folder):
    def refused(state, *says, **form):
        torch.save(state, folder / "x.bin", **form)
        said = run("hash", folder / "x.bin", code=3)
        for text in ("x.bin", *says):
            check(text in said, f"stderr lacks {text!r}: {said}")

    refused(torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear", "refused")
    refused({"a": torch.ones(2).to_sparse()}, "_rebuild_sparse_tensor")
    refused({"a": torch.ones(2, dtype=torch.complex64)}, "ComplexFloatStorage")
    refused({"a": torch.ones(2, dtype=torch.uint16)}, "refused")
    refused({"a": torch._neg_view(torch.ones(2))}, "negated")
    refused({"epoch": 3, "state_dict": {"a": torch.ones(2)}}, "\"epoch\"", "state_dict() alone")
    refused([torch.ones(2)], "expected a dictionary")
    torch.save({"a": torch.ones(2)}, folder / "stored.bin")
    with zipfile.ZipFile(folder / "stored.bin") as stored, zipfile.ZipFile(folder / "x.bin", "w", zipfile.ZIP_DEFLATED) as packed:
        for entry in stored.namelist():
            packed.writestr(entry, stored.read(entry))
    check("is compressed" in run("hash", folder / "x.bin", code=3), "a compressed archive")
    # Stored again by another program, data is no longer aligned; the tensors stay the same.
    with zipfile.ZipFile(folder / "stored.bin") as stored, zipfile.ZipFile(folder / "x.bin", "w") as again:
        for entry in stored.namelist():
            again.writestr(entry, stored.read(entry))
    check(run("diff", folder / "x.bin", folder / "stored.bin") == "", "an archive stored again")


def main():
    torch.manual_seed(7)
    with tempfile.TemporaryDirectory(prefix="mose_pickles_") as name:
        for test in (check_state_dicts, check_shards, check_nothing_runs, check_refusals):
            folder = pathlib.Path(name) / test.__name__
            folder.mkdir()
            test(folder)
    print("pickles: passed")


if __name__ == "__main__":
    main()
