"""mose-model's answers to bad input."""

import json

import tiny_model
from harness import Case
from tiny_model import SETS

NEW = ["init", "--tokenizer", "{dir}/tokenizer", *SETS, "--out", "{dir}/out"]
SPARSE = ["init", "--from", "{dir}/model", "--upcycle", "sparse", "--out", "{dir}/out"]
OUT = ["out/config.json", "out/model.safetensors"]
TOKENIZER = tiny_model.make_tokenizer


def two_models(folder):
    """{folder}/model, and {folder}/other with one value changed and one tensor missing."""
    from safetensors.numpy import load_file, save_file

    tiny_model.make(folder)
    weights = load_file(folder / "model/model.safetensors")
    weights["model.language_model.embed_tokens.weight"][3, 5] += 1
    del weights["model.language_model.norm.weight"]
    (folder / "other").mkdir()
    save_file(weights, folder / "other/model.safetensors")


def adapter(config=None, layer="model.language_model.layers.0.self_attn.q_proj", width=24):
    """{folder}/model and {folder}/adapter, whose config is changed by `config`."""

    def arrange(folder):
        import numpy
        from safetensors.numpy import save_file

        tiny_model.make(folder)
        (folder / "adapter").mkdir()
        weights = {f"base_model.model.{layer}.lora_A.weight": numpy.ones((2, width), numpy.float32),
                   f"base_model.model.{layer}.lora_B.weight": numpy.ones((24, 2), numpy.float32)}
        save_file(weights, folder / "adapter/adapter_model.safetensors")
        value = {"peft_type": "LORA", "r": 2, "lora_alpha": 2} | (config or {})
        (folder / "adapter/adapter_config.json").write_text(json.dumps(value))

    return arrange


MERGE = ["merge", "--model", "{dir}/model", "--adapter", "{dir}/adapter", "--out", "{dir}/out"]


def new(*sets):
    return [*NEW, *(arg for item in sets for arg in ("--set", item))]


def sparse(*sets):
    return [*SPARSE, *(arg for item in sets for arg in ("--set", item))]


def truncated_config(folder):
    TOKENIZER(folder)
    (folder / "config.json").write_text('{"model": {"vision": {"laye')


def renamed_key(content):
    value = json.loads(content)
    value["vison"] = value.pop("vision")
    return json.dumps(value).encode()


CASES = [
    Case("makes a model", new(), 0, arrange=TOKENIZER, prints=["whole model"]),
    Case("describes a good model", ["info", "{dir}/model"], 0, arrange=tiny_model.make, prints=["whole model"]),
    Case("info of nothing", ["info"], 2, ["model directory", "--config"]),
    Case("info of no model", ["info", "{dir}/none"], 3, ["{dir}/none/config.json", "no such file"]),
    Case("truncated config.json", ["info", "{dir}/model"], 3, ["{dir}/model/config.json", "not valid JSON"],
         tiny_model.spoilt("config.json", tiny_model.first_half)),
    Case("unknown key in config.json", [*SPARSE], 3, ["{dir}/model/config.json", '"vison"', '"vision"'],
         tiny_model.spoilt("config.json", renamed_key), OUT),
    Case("unknown key in --set", new("model.vison.layers=1"), 2,
         ["--set", '"model.vison"', 'did you mean "model.vision"?'], TOKENIZER, OUT),
    Case("value out of range", new("model.vision.layers=-1"), 2, ["model.vision.layers = -1", "0 to 1000"],
         TOKENIZER, OUT),
    Case("value of a wrong type", new("model.vision.layers=x"), 2, ["model.vision.layers", "an integer", '"x"'],
         TOKENIZER, OUT),
    Case("sizes that do not fit", new("model.language.kv_heads=3"), 2, ["language.kv_heads = 3", "heads = 4"],
         TOKENIZER, OUT),
    Case("makes a model that sees tiles", new('model.grid_pinpoints=[{"width": 128, "height": 32}]'), 0, arrange=TOKENIZER,
         prints=["rows an image takes: up to 7, "]),
    Case("canvas that tiles do not fill", new('model.grid_pinpoints=[{"width": 100, "height": 32}]'), 2, ["64 x 32", "100 x 32"],
         TOKENIZER, OUT),
    Case("canvas without a height", new('model.grid_pinpoints=[{"width": 128}]'), 2, ["64 x 32", "128 x 0"], TOKENIZER, OUT),
    Case("canvas of a negative size", new('model.grid_pinpoints=[{"width": -64, "height": 32}]'), 2, ["grid_pinpoints", "-64"],
         TOKENIZER, OUT),
    Case("image that patches do not tile", new("model.vision.image_width=60"), 2, ["32 x 60", "patch_size = 16"],
         TOKENIZER, OUT),
    Case("no --out", NEW[:-2], 2, ["--out is missing"], TOKENIZER),
    Case("neither --tokenizer nor --from", ["init", "--out", "{dir}/out"], 2, ["--tokenizer", "--from"], untouched=OUT),
    Case("no tokenizer", new(), 3, ["{dir}/tokenizer", "no such file"], untouched=OUT),
    Case("tokenizer without an image token", new(), 3, ["{dir}/tokenizer", '"<image>"'],
         lambda folder: TOKENIZER(folder, ["<|im_start|>", "<|im_end|>"]), OUT),
    Case("missing --config", [*NEW, "--config", "{dir}/none.json"], 3, ["{dir}/none.json"], TOKENIZER, OUT),
    Case("truncated --config", [*NEW, "--config", "{dir}/config.json"], 3, ["{dir}/config.json", "not valid JSON"],
         truncated_config, OUT),
    Case("missing taxonomy", [*NEW, "--taxonomy", "{dir}/none.json"], 3, ["{dir}/none.json"], TOKENIZER, OUT),
    Case("--from without --upcycle", ["init", "--from", "{dir}/model", "--out", "{dir}/out"], 2, ["--upcycle"],
         tiny_model.make, OUT),
    Case("--vision without --language", ["init", "--vision", "{dir}/model", "--out", "{dir}/out"], 2, ["--vision", "--language"],
         tiny_model.make, OUT),
    Case("a decoder that is none", ["init", "--vision", "{dir}/model", "--language", "{dir}/model", "--out", "{dir}/out"], 3,
         ["{dir}/model/config.json", "model_type", "mose", "qwen2_moe"], tiny_model.make, OUT),
    Case("export of what the format cannot hold", ["export", "{dir}/model", "--out", "{dir}/out"], 2, ["merges patches"],
         tiny_model.make, OUT),
    Case("export of no model", ["export", "{dir}/none", "--out", "{dir}/out"], 3, ["{dir}/none/config.json"], untouched=OUT),
    Case("a gate with other than two experts a token", sparse("moe.router=deepspeed095", "moe.experts=4", "moe.top_k=1"), 2,
         ["deepspeed095", "top_k = 2", "found 1"], tiny_model.make, OUT),
    Case("unknown router", sparse("moe.router=skil"), 2, ["moe.router", '"skil"', 'did you mean "skill"?'],
         tiny_model.make, OUT),
    Case("more experts a token than experts", sparse("moe.experts=4", "moe.top_k=9"), 2, ["top_k = 9", "experts = 4"],
         tiny_model.make, OUT),
    Case("merges an adapter", MERGE, 0, arrange=adapter()),
    Case("merge of no adapter", MERGE, 3, ["{dir}/adapter/adapter_config.json", "no such file"], tiny_model.make, OUT),
    Case("merge of an adapter for a layer that is not there", MERGE, 3, ["adapter_model.safetensors", "layers.9.mlp", "no linear layer"],
         adapter(layer="model.language_model.layers.9.mlp.up_proj"), OUT),
    Case("merge of an adapter of another width", MERGE, 3, ["adapter_model.safetensors", "q_proj", "[2, 25]", "[24, 24]"],
         adapter(width=25), OUT),
    Case("merge of DoRA", MERGE, 3, ["adapter_config.json", "use_dora"], adapter({"use_dora": True}), OUT),
    Case("info with adapters", ["info", "{dir}/model", "--lora-rank", "4"], 0, arrange=tiny_model.make, prints=["adapters of rank 4"]),
    Case("info with adapters on a layer that is not there", ["info", "{dir}/model", "--lora-rank", "4", "--lora-targets", "*.qkv_proj"], 2,
         ["lora.targets", '"*.qkv_proj"'], tiny_model.make),
    Case("info with targets alone", ["info", "{dir}/model", "--lora-targets", "*"], 2, ["--lora-rank"], tiny_model.make),
    Case("hash of a truncated file", ["hash", "{dir}/model"], 3, ["model.safetensors", "truncated"],
         tiny_model.spoilt("model.safetensors", tiny_model.first_half)),
    Case("diff of a model and itself", ["diff", "{dir}/model", "{dir}/model"], 0, arrange=tiny_model.make),
    Case("diff of two models", ["diff", "{dir}/model", "{dir}/other"], 1, ["tensors differ"], two_models,
         prints=["model.language_model.embed_tokens.weight\tvalues\t1 of ", "model.language_model.norm.weight\tonly in A"]),
    Case("diff with nothing", ["diff", "{dir}/model", "{dir}/none"], 3, ["{dir}/none", "no such file"], tiny_model.make),
    Case("import of nothing", ["import", "--from", "{dir}/none", "--out", "{dir}/out"], 3, ["{dir}/none/config.json"],
         untouched=OUT),
    Case("import of a model that is no LLaVA", ["import", "--from", "{dir}/model", "--out", "{dir}/out"], 3,
         ["{dir}/model/config.json", "model_type", "mose", "llava"], tiny_model.make, OUT),
    Case("hash of nothing", ["hash", "{dir}/none"], 3, ["{dir}/none", "no such file"]),
    Case("no room for the weights", new(), 1, ["model.safetensors", "File too large"], TOKENIZER, OUT, file_limit=30_000),
    Case("full disk behind stdout", ["info", "{dir}/model"], 1, ["standard output"], tiny_model.make,
         stdout_to="/dev/full"),
]
