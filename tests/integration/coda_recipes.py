"""The recipes for CODA-LM on data of its form and small random checkpoints of their families: each in a dry run with the
recipe's own stages, losses and experts; and docs/coda_8_gpus.md, every command in its order."""

import json
import math
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile

from runs import BIN, ROOT, check, run

sys.path[:0] = [str(ROOT / "tests/parity"), str(ROOT / "tests/support")]
import torch  # noqa: E402
from chat_server import ChatServer, rating  # noqa: E402
from judge_set import environment  # noqa: E402
from small_models import PARTIAL, random_model, save_tower, text, tower, write_part  # noqa: E402
import transformers  # noqa: E402
from transformers import CLIPVisionConfig, Qwen2Config, StableLmConfig  # noqa: E402

PAGE = ROOT / "docs/coda_8_gpus.md"
FAMILIES = {
    "qwen2_5": dict(kind=Qwen2Config, tie_word_embeddings=True),
    "qwen1_5": dict(kind=Qwen2Config, num_key_value_heads=4),
    "stablelm_2": dict(kind=StableLmConfig, use_qkv_bias=True, rope_parameters=PARTIAL, hidden_size=32, num_key_value_heads=4),
}
TEMPLATES = {"qwen2_5": "chatml", "qwen1_5": "chatml", "stablelm_2": "stablelm"}
# A batch of 2 samples in 2 parts, answers cut, nothing measured beforehand; nothing else of a recipe changes.
SHORT = {"data.loader.batch_samples": 2, "stages.projector.accumulate": 2, "stages.finetune.accumulate": 2, "data.max_validation": 2,
         "data.encode.max_tokens": 384, "stages.router.cache_batch": 128, "peak_teraflops": 0.1, "threads": 1}


def make_coda(folder):
    """CODA-LM's folders as its users have them: no facts, no manifest, a Mini split that is a part of Val."""
    root = folder / "CODA"
    run("mose-data", "scenes", "--quiet", "--out", root, "--train", 5, "--val", 2, "--test", 2, "--seed", 4, "--width", 1920, "--height", 1080)
    shutil.rmtree(root / "facts")
    (root / "scenes.json").unlink()
    for split in ("Train", "Val", "Test"):
        files = sorted((root / "CODA-LM" / split).glob("*.json"))
        check(all(re.fullmatch(r"(val|test)_\d{4}\.json", f.name) for f in files) and files, f"{split}: {files}")
        check({f.name.split("_")[0] for f in files} == {"val" if split == "Train" else "test"}, f"{split} has pictures of another set")
    (root / "CODA-LM/Mini").mkdir()
    shutil.copy(sorted((root / "CODA-LM/Val").glob("*.json"))[0], root / "CODA-LM/Mini")
    return root


def make_checkpoints(folder, family, vision="vision", language="language"):
    """A tower and a decoder as transformers writes them."""
    config = dict(FAMILIES[family])
    model = random_model(tower(CLIPVisionConfig), text(config.pop("kind"), **config), {})
    tied = config.get("tie_word_embeddings", False)
    tensors = {"model." + key: value for key, value in model.model.language_model.state_dict().items()}
    if not tied:
        tensors["lm_head.weight"] = model.lm_head.weight
    write_part(folder / language, tensors, model.model.language_model.config.to_dict() | {"tie_word_embeddings": tied})
    save_tower(folder / vision, model)
    # The token that ends StableLM's turns.
    file = folder / language / "tokenizer.json"
    tokenizer = json.loads(file.read_text())
    end = {**tokenizer["added_tokens"][-1], "id": tokenizer["added_tokens"][-1]["id"] + 1, "content": "<|endoftext|>"}
    tokenizer["added_tokens"].append(end)
    file.write_text(json.dumps(tokenizer))


def sets(values):
    return [f"--set={key}={value}" for key, value in values.items()]


def check_report(report, recipe, name):
    stages = [s for s in report["stages"]]
    check([s["name"] for s in stages] == [s["name"] for s in recipe["stages"]], f"{name}: stages {stages}")
    for stage, wanted in zip(stages, recipe["stages"]):
        check(stage["steps"] == wanted["steps"], f"{name}: {stage}")
        check(stage["seconds_per_step"] > 0 and stage["seconds"] > 0 and math.isfinite(stage["loss"]) and stage["loss"] > 0, f"{name}: {stage}")
        check(("seconds_to_cache" in stage) == (wanted["kind"] == "router"), f"{name}: {stage}")
        check(wanted["kind"] == "router" or 0 < stage["share_of_peak"] < 1, f"{name}: {stage}")
    check(report["seconds"] >= sum(s["seconds"] for s in stages) * 0.999 and report["peak_memory_mib"] > 50, f"{name}: {report}")


def check_recipes(folder, coda):
    """Every recipe of CODA, from checkpoints of its family to the report of a dry run."""
    recipes = sorted((ROOT / "configs/recipes").glob("coda_*.json"))
    check(len(recipes) >= 4, f"recipes {recipes}")
    for file in recipes:
        recipe = json.loads(file.read_text())
        family = next(name for name in FAMILIES if file.stem.startswith(f"coda_{name}"))
        here = folder / family
        if not here.exists():
            here.mkdir()
            make_checkpoints(here, family)
            check(recipe["model"]["chat_template"] == TEMPLATES[family], f"{file.name}: chat template")
            run("mose-model", "init", "--quiet", "--vision", here / "vision", "--language", here / "language", "--chat-template",
                TEMPLATES[family], "--out", here / "joined")
        started = subprocess.run(
            [BIN / "mose-train", "--quiet", "--config", file, *sets({"init_from": here / "joined", "data.root": coda, **SHORT}), "--run",
             here / file.stem, "--dry-run"], capture_output=True, text=True, timeout=300, check=False)
        check(started.returncode == 0, f"{file.name}: {started.stderr}")
        check_report(json.loads(started.stdout), recipe, file.name)
        check(not list(here.glob(f"{file.stem}*")), f"{file.name}: a dry run left something")
        print(f"{file.stem}: dry run of {len(recipe['stages'])} stages", flush=True)


def commands_of(page):
    """The commands of the page's plain blocks, and what follows a block as its ```text block."""
    found = []
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", page, re.M | re.S):
        if language == "text":
            check(found and found[-1][1] is None, "a printed text without its command")
            found[-1][1] = block
        elif not language:
            found += [[line, None] for line in block.splitlines() if re.match(r"(\w+=\S+ )?(mose-|torchrun )", line)]
    return found


def shortened(line):
    """The page's command for small data on one process: fewer steps, answers of few tokens."""
    line = re.sub(r"^CUDA_VISIBLE_DEVICES=\d ", "", line.removesuffix(" &"))
    many = "torchrun --no-python --nproc-per-node 8 "
    words = shlex.split(line.removeprefix(many))
    check("torchrun" not in words, f"another way to start processes: {line}")
    if line.startswith(many):
        words += sets(SHORT | {"precision": "float32"})  # a CPU is slow in bfloat16
        words += [] if "--dry-run" in words else sets({"stages.projector.steps": 1, "stages.router.steps": 5, "stages.router.cache_tokens": 500,
                                                       "stages.finetune.steps": 1})
    if "--max-new-tokens" in words:
        words[words.index("--max-new-tokens") + 1] = "6"
    return words


def check_page(folder):
    """What the page says is typed, with CODA, the checkpoints and the scripts where it says they are."""
    make_checkpoints(folder / "models", "qwen2_5", "clip-vit-large-patch14-336", "Qwen2.5-1.5B-Instruct")
    shutil.copytree(ROOT / "tests/fixtures/judge_scripts", folder / "CODA-LM")
    (folder / "configs").symlink_to(ROOT / "configs")
    (folder / "prices.json").write_text(json.dumps({"currency": "USD", "models": {"gpt-4o-2024-05-13": {"input": 5, "output": 15}}}))
    commands = commands_of(PAGE.read_text())
    check(len(commands) >= 15, f"{len(commands)} commands in the page")
    with ChatServer(lambda asked: rating(6)) as server:
        said = []
        for line, printed in commands:
            words = shortened(line)
            if "openai,text" in words:
                words += ["--base-url", server.url]
            done = subprocess.run([BIN / words[0], *words[1:]], cwd=folder, env=environment(OPENAI_API_KEY="none"), capture_output=True, text=True, timeout=300, check=False)
            check(done.returncode == 0, f"{line}\nexit code {done.returncode}: {done.stderr}")
            said.append(done.stdout)
            if printed is not None:
                check(done.stdout == printed, f"{line}\nprints\n{done.stdout}and the page says\n{printed}")
            if "--dry-run" in words and words[0] == "mose-train":
                check(json.loads(done.stdout)["seconds"] > 0 and not list((folder / "runs").glob("*")), f"{line}: {done.stdout}")
    table = said[-1]
    check("| qwen |" in table and "| blind |" in table and "60.0" in table, f"the last table: {table}")
    controls = {name: json.loads((folder / "answers" / name / "predict.json").read_text()) for name in ("qwen", "blind", "shuffled")}
    check(controls["blind"]["blind"] and controls["shuffled"]["shuffled_images"] and not controls["qwen"]["blind"], f"{controls}")
    check((folder / "report.html").stat().st_size > 10000, "no report")
    print(f"{PAGE.name}: {len(commands)} commands", flush=True)


def main():
    torch.set_num_threads(1)
    transformers.utils.logging.disable_progress_bar()
    with tempfile.TemporaryDirectory(prefix="mose_coda_recipes_") as name:
        folder = pathlib.Path(name)
        coda = make_coda(folder)
        check_recipes(folder, coda)
        check_page(folder)
    print("coda_recipes: passed")


if __name__ == "__main__":
    main()
