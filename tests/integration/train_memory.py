"""What a training process holds is what `mose-model info --processes` says, within 5 %, whole and with the optimizer's
state, or experts, divided. Measured as what tensors hold at most, beside that of a tiny model on the same data: resident
memory also has what the heap keeps between them, which is another on every machine (it is printed)."""

import json
import pathlib
import subprocess
import tempfile

from runs import BIN, SMOKE, check, lines_of, make_scenes, start_processes

# 126 M parameters, nearly all in experts that few rows meet, so that activations are small beside them.
LANGUAGE = {"hidden_size": 256, "intermediate_size": 128, "layers": 40, "heads": 4, "kv_heads": 2,
            "moe": {"experts": 32, "top_k": 1, "router": "topk", "placement": "all"}}
TINY = {**LANGUAGE, "intermediate_size": 4}
FORMS = [(1, {}), (2, {"shard_optimizer": True}), (2, {"expert_parallel": 2}), (2, {"shard_optimizer": True, "precision": "bfloat16"}),
         (4, {"shard_optimizer": True, "expert_parallel": 2})]


def sets(language, processes, form):
    stage = {"name": "all", "kind": "finetune", "steps": 3, "lr": 1e-4, "accumulate": processes}
    values = {"model.language": language, "stages": [stage], "data.loader.batch_samples": processes, "data.loader.workers": 0,
              "data.max_validation": 1, "checkpoint_beside": False, "threads": 1, "log_every": 1, "calibrate": 0, **form}
    return [f"--set={key}={json.dumps(value)}" for key, value in values.items()]


def peak(folder, data, language, processes, form):
    """MiB of the first process before anything was written: of tensors, and resident."""
    run = folder / f"run{len(list(folder.iterdir()))}"
    ranks = start_processes(processes, [BIN / "mose-train", "--quiet", "--config", SMOKE, f"--set=data.root={data}",
                                "--run", run, *sets(language, processes, form)])
    codes = [rank.wait(300) for rank in ranks]
    check(codes == [0] * processes, f"{processes} processes, {form}: ended with {codes}")
    line = lines_of(run)[-2]
    return [line["peak_tensor_mib"], line["peak_memory_mib"]]


def predicted(folder, language, processes, form):
    said = subprocess.run([BIN / "mose-model", "info", "--json", "--processes", str(processes), "--config", SMOKE,
                           *sets(language, processes, form)], capture_output=True, text=True, check=True).stdout
    return json.loads(said)["process"]["total"] / 2**20


def main():
    with tempfile.TemporaryDirectory(prefix="mose_memory_") as folder:
        folder = pathlib.Path(folder)
        data = make_scenes(folder / "coda", 8, 1, 1, 3)
        for processes, form in FORMS:
            found, resident = (a - b for a, b in zip(peak(folder, data, LANGUAGE, processes, form), peak(folder, data, TINY, processes, form)))
            told = predicted(folder, LANGUAGE, processes, form) - predicted(folder, TINY, processes, form)
            text = f"{processes} processes, {form}: {found:.0f} MiB held in tensors ({resident:.0f} resident), {told:.0f} predicted"
            print(text, flush=True)
            check(abs(found / told - 1) < 0.05, text)
    print("train_memory: passed")


if __name__ == "__main__":
    main()
