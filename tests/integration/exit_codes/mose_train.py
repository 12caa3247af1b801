"""mose-train's answers to bad input."""

import json

import coda
import tiny_model
from harness import Case

TRAIN = ["--config", "{dir}/recipe.json", "--run", "{dir}/run"]
RUN = ["run/config.json", "run/metrics.jsonl"]


def recipe(folder):
    return {
        "data": {"root": str(folder / "CODA"), "train_split": "Mini", "validation_split": "Mini", "vocabulary": 300,
                 "encode": {"max_tokens": 1024}, "loader": {"batch_samples": 1, "workers": 0}},
        "model": {"vision": {"image_height": 32, "image_width": 64, "stem_width": 4, "hidden_size": 16,
                             "intermediate_size": 20, "layers": 1, "heads": 2},
                  "projector": {"merge": 2},
                  "language": {"hidden_size": 24, "intermediate_size": 20, "layers": 2, "heads": 4, "kv_heads": 2}},
        "stages": [{"name": "dense", "kind": "dense", "steps": 1}],
    }


def arranged(change=lambda value: None, data=coda.make):
    """A set made by `data` and a recipe for it that `change` has changed."""

    def arrange(folder):
        data(folder)
        value = recipe(folder)
        change(value)
        (folder / "recipe.json").write_text(json.dumps(value))

    return arrange


def with_file(path, content, empty=None):
    def arrange(folder):
        arranged()(folder)
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(content)
        if empty:
            (folder / empty).touch()

    return arrange


def without_recipe(folder):
    coda.make(folder)


def truncated_weights(folder):
    tiny_model.spoilt("model.safetensors", tiny_model.first_half)(folder)
    arranged(lambda value: value.update(init_from=str(folder / "model")))(folder)


def full_disk(folder):
    arranged()(folder)
    coda.full(folder / "run" / "data" / "skills.json")


def full_metrics(folder):
    arranged()(folder)
    coda.full(folder / "run" / "metrics.jsonl")


def sets(*items):
    return [*TRAIN, *(arg for item in items for arg in ("--set", item))]


CASES = [
    Case("trains a step", TRAIN, 0, arrange=arranged()),
    Case("no --run", TRAIN[:2], 2, ["--run is missing"], arranged()),
    Case("no recipe", TRAIN, 3, ["{dir}/recipe.json", "no such file"], without_recipe, RUN),
    Case("truncated recipe", TRAIN, 3, ["{dir}/recipe.json", "not valid JSON"],
         with_file("recipe.json", '{"stages": [{"name": "de'), RUN),
    Case("unknown key", TRAIN, 2, ["{dir}/recipe.json", '"stagse"', 'did you mean "stages"?'],
         arranged(lambda value: value.update(stagse=value.pop("stages"))), RUN),
    Case("unknown key of a stage", TRAIN, 2, ["{dir}/recipe.json", '"stages.0.step"', 'mean "stages.0.steps"?'],
         arranged(lambda value: value["stages"][0].update(step=3)), RUN),
    Case("unknown kind", TRAIN, 2, ["stages.0.kind", '"dens"', '"dense"?'],
         arranged(lambda value: value["stages"][0].update(kind="dens")), RUN),
    Case("no stages", TRAIN, 2, ['"stages" is empty'], arranged(lambda value: value.update(stages=[])), RUN),
    Case("two stages of one name", TRAIN, 2, ["dense"],
         arranged(lambda value: value["stages"].append({"name": "dense", "kind": "finetune"})), RUN),
    Case("value out of range", sets("log_every=0"), 2, ["log_every = 0"], arranged(), RUN),
    Case("value of a wrong type", sets("threads=many"), 2, ["threads", "an integer", '"many"'], arranged(), RUN),
    Case("unknown value of --resume", [*TRAIN, "--resume", "atuo"], 2, ["--resume", "atuo"], arranged(), RUN),
    Case("batch that accumulation does not divide", TRAIN, 2, ["accumulate = 2", "batch_samples = 1"],
         arranged(lambda value: value["stages"][0].update(accumulate=2)), RUN),
    Case("adapters on a layer that is not there", TRAIN, 2, ["lora.targets", '"*.qkv_proj"', "no linear layer"],
         arranged(lambda value: value["stages"][0].update(lora={"targets": ["*.qkv_proj"]}))),
    Case("adapters of rank 0", TRAIN, 2, ["stages.0.lora.rank = 0"],
         arranged(lambda value: value["stages"][0].update(lora={"rank": 0})), RUN),
    Case("adapters in a router stage", TRAIN, 2, ["stage dense", "lora", "router"],
         arranged(lambda value: value["stages"][0].update(kind="router", lora={})), RUN),
    Case("adapters of a stage whose name is no folder's", TRAIN, 2, ['"a/b"', "folder"],
         arranged(lambda value: value["stages"][0].update(name="a/b", lora={})), RUN),
    Case("an oracle in a dense stage", TRAIN, 2, ["stage dense", "route_by = labels", "finetune"],
         arranged(lambda value: value["stages"][0].update(route_by="labels")), RUN),
    Case("an oracle for a dense model", TRAIN, 2, ["stage dense", "route_by = labels", "dense model"],
         arranged(lambda value: value["stages"][0].update(kind="finetune", route_by="labels"))),
    Case("more noise than labels", sets("data.labels.noise=1.5"), 2, ["data.labels.noise = 1.5"], arranged(), RUN),
    Case("an estimate", [*TRAIN[:2], "--estimate", "--set", "peak_teraflops=1"], 0, prints=["not measured", "dense"], arrange=arranged(), untouched=RUN),
    Case("an estimate of an unknown device", [*TRAIN[:2], "--estimate"], 2, ["peak_teraflops is 0"], arranged(), RUN),
    Case("a share without an estimate", [*TRAIN, "--share", "0.5"], 2, ["--share", "--estimate"], arranged(), RUN),
    Case("no data named", sets("data.root="), 2, ["data.root", "data.dataset"], arranged(), RUN),
    Case("no such set", TRAIN, 3, ["{dir}/CODA/CODA-LM/Mini"], arranged(data=lambda folder: None)),
    Case("truncated annotation", TRAIN, 3, ["val_0001.json", "not valid JSON"], arranged(data=coda.truncated)),
    Case("missing image", TRAIN, 3, ["val_0001.json", "0001.jpg"], arranged(data=coda.without_image)),
    Case("truncated image", TRAIN, 3, ["0001.jpg"], arranged(data=coda.with_truncated_image)),
    Case("box outside the image", TRAIN, 3, ["val_0001.json", "region_perception.1", "64 x 48"],
         arranged(data=coda.spoilt(coda.box_outside))),
    Case("no such model to start from", sets("init_from={dir}/none"), 3, ["{dir}/none/config.json"], arranged()),
    Case("truncated weights to start from", sets("init_from={dir}/model"), 3, ["model.safetensors", "truncated"],
         truncated_weights),
    Case("a folder that holds a run", TRAIN, 2, ["{dir}/run", "--resume auto"],
         with_file("run/config.json", "{}", "run/metrics.jsonl"), RUN),
    Case("a folder whose run never began", TRAIN, 0, arrange=with_file("run/config.json", "{}")),
    Case("no room for a checkpoint", TRAIN, 1, ["model.safetensors", "File too large"], arranged(),
         ["run/checkpoints/step_00000001/DONE"], file_limit=60_000),
    Case("full disk behind the metrics", TRAIN, 1, ["metrics.jsonl", "disk full"], full_metrics),
    Case("full disk", TRAIN, 1, ["skills.json", "No space left on device"], full_disk),
]
