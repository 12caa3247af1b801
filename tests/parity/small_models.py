"""Small checkpoints with random weights, and how a model of ours is held against transformers: what the parity
tests of models share."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import torch
from safetensors.torch import load_file, save_file
from transformers import (CLIPImageProcessor, CLIPVisionConfig, CLIPVisionModel, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config,
                          SiglipImageProcessor)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "integration/exit_codes"))
import tiny_model  # noqa: E402

BIN = pathlib.Path(os.environ["MOSE_BIN"])
SIZE, VOCABULARY, IMAGE = 28, 300, 256
GREEDY = 64
LIMIT = 1e-4
PARTIAL = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def run(program, *args, code=0):
    done = subprocess.run([BIN / program, *map(str, args)], capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == code, f"{program} {' '.join(map(str, args))}: exit code {done.returncode}: {done.stderr}")
    return done.stderr


def text(kind, **more):
    sizes = dict(hidden_size=24, intermediate_size=44, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2,
                 vocab_size=VOCABULARY, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    return kind(**(sizes | more))


def tower(kind, **more):
    sizes = dict(hidden_size=20, intermediate_size=36, num_hidden_layers=4, num_attention_heads=4, image_size=SIZE, patch_size=7)
    return kind(**(sizes | more))


def write_processor(folder, vision):
    """preprocessor_config.json and a tokenizer that knows <image>."""
    processor = CLIPImageProcessor if vision.model_type == "clip_vision_model" else SiglipImageProcessor
    size = {"shortest_edge": SIZE} if processor is CLIPImageProcessor else {"height": SIZE, "width": SIZE}
    crop = {"crop_size": {"height": SIZE, "width": SIZE}} if processor is CLIPImageProcessor else {}
    processor(size=size, **crop).save_pretrained(folder)
    tiny_model.make_tokenizer(folder.parent)
    shutil.move(folder.parent / "tokenizer/tokenizer.json", folder)
    shutil.rmtree(folder.parent / "tokenizer")
    return processor(size=size, **crop)


def random_model(vision, language, more, config=LlavaConfig, whole=LlavaForConditionalGeneration):
    torch.manual_seed(11)
    model = whole(config(vision_config=vision, text_config=language, image_token_index=IMAGE, **more))
    with torch.no_grad():
        for value in model.parameters():  # nothing is zero or one, as it would be in a new model
            value.normal_(0, 0.15).add_(0.03)
    return model.eval()


def random_input(patches):
    torch.manual_seed(5)
    ids = torch.randint(0, IMAGE, (1, 40))
    ids[0, 3:3 + patches] = IMAGE
    return ids, torch.randn(1, 3, SIZE, SIZE)


def patches_of(model):
    count = (SIZE // 7) ** 2
    siglip = model.config.vision_config.model_type == "siglip_vision_model"
    return count - 1 if siglip and model.config.vision_feature_select_strategy == "default" else count


def ours(folder, model_dir, ids, pixels, **more):
    save_file({"input_ids": ids[0].contiguous(), "pixels": pixels} | more, folder / "in.safetensors")
    done = subprocess.run([BIN / "model_for_parity", model_dir, folder / "in.safetensors", folder / "out.safetensors"],
                          capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == 0, done.stderr)
    return load_file(folder / "out.safetensors")


def our_name(name):
    return name.replace(".self_attn.dense.", ".self_attn.o_proj.").replace("language_model.final_layernorm", "language_model.norm")


def worst(a, b):
    return float((a - b).detach().abs().max() / b.abs().max().clamp_min(1e-12))


def compare(name, found, model, ids, pixels, cached=True, **more):
    """Everything model_for_parity computed against transformers, as the largest relative difference."""
    output = model(input_ids=ids, pixel_values=pixels, output_hidden_states=True, **more)
    labels = ids.masked_fill(ids == IMAGE, -100)
    loss = torch.nn.functional.cross_entropy(output.logits[0, :-1], labels[0, 1:])
    loss.backward()
    differences = {"logits": worst(found["logits"], output.logits[0].detach()), "loss": worst(found["loss"], loss.detach().view(1))}
    for i, hidden in enumerate(output.hidden_states):
        differences[f"hidden.{i}"] = worst(found[f"hidden.{i}"], hidden[0].detach())
    seen = 0
    for parameter, value in model.named_parameters():
        key = "grad." + our_name(parameter)
        if value.grad is None or key not in found:
            # Behind the feature layer, and a class token's last state, nothing has a gradient.
            check(value.grad is None or value.grad.abs().max() == 0, f"{name}: no gradient for {parameter}")
            continue
        seen += 1
        if value.grad.abs().max() > 1e-7:  # a key's bias moves no softmax: rounding only
            differences[key] = worst(found[key], value.grad)
    check(seen > 20, f"{name}: {seen} gradients compared")
    with torch.no_grad():
        blind = model(input_ids=ids, pixel_values=torch.zeros_like(pixels), **more).logits[0]
    check(worst(blind, output.logits[0]) > 1e-2, f"{name}: the picture changes nothing, so the test shows nothing")
    if cached:
        differences["cached"] = worst(found["cached_logits"], output.logits[0].detach())
        with torch.no_grad():
            answer = model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False,
                                    max_new_tokens=GREEDY, min_new_tokens=GREEDY, bad_words_ids=[[IMAGE]], pad_token_id=0, **more)
        theirs, mine = answer[0, ids.shape[1]:].tolist(), found["greedy"].tolist()
        check(theirs == mine, f"{name}: greedy tokens differ:\n{theirs}\n{mine}")
    bad = {key: value for key, value in differences.items() if not value < LIMIT}
    check(not bad, f"{name}: {bad}")
    print(f"{name}: {len(differences)} comparisons, the worst differs by {max(differences.values()):.1e}", flush=True)


def check_export(name, folder, model_dir, model, ids, pixels, logits=None, whole=LlavaForConditionalGeneration, **more):
    run("mose-model", "export", model_dir, "--format", "hf", "--out", folder / "back")
    again, report = whole.from_pretrained(folder / "back", output_loading_info=True)
    problems = {key: value for key, value in report.items() if value and key != "error_msgs"}
    check(not problems, f"{name}: transformers says of the export: {problems}")
    with torch.no_grad():
        want = logits if logits is not None else model(input_ids=ids, pixel_values=pixels, **more).logits[0]
        difference = worst(again.eval()(input_ids=ids, pixel_values=pixels, **more).logits[0], want)
    check(difference < 1e-5, f"{name}: exported, logits differ by {difference:.1e}")


def write_part(folder, tensors, config):
    folder.mkdir(parents=True)
    save_file({key: value.detach().clone() for key, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    write_processor(folder, tower(CLIPVisionConfig))


def run_checks(prefix, checks):
    """Each check (name, function of a folder) in a folder of its own; words of the command line choose some by name."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory(prefix=f"mose_{prefix}_") as name:
        for check_name, work in checks:
            if not sys.argv[1:] or check_name in sys.argv[1:]:
                folder = pathlib.Path(name) / check_name
                folder.mkdir()
                work(folder)
    print(f"{prefix}: passed")


def train_joined(folder, vision, recipe, **more):
    """What a user does: a CLIP tower and a Qwen2 decoder joined in folder/joined, and trained on driving scenes in folder/run by a
    shipped recipe, its steps cut short and its router linear."""
    model = random_model(vision, text(Qwen2Config, tie_word_embeddings=True), {"tie_word_embeddings": True})
    language = model.model.language_model
    write_part(folder / "language", {"model." + key: value for key, value in language.state_dict().items()}, language.config.to_dict())
    save_tower(folder / "vision", model)
    run("mose-model", "init", "--vision", folder / "vision", "--language", folder / "language", "--chat-template", "chatml", "--out", folder / "joined")
    run("mose-data", "scenes", "--out", folder / "set", "--train", 6, "--val", 2, "--test", 1, "--seed", 3)
    sets = {"init_from": folder / "joined", "data.root": folder / "set", "moe.router": '"skill"', "data.loader.batch_samples": 4,
            "stages.projector.steps": 2, "stages.projector.accumulate": 2, "stages.router.steps": 20, "stages.router.cache_tokens": 2000,
            "stages.router.cache_batch": 256, "stages.router.loss.stage.value": 0, "stages.finetune.accumulate": 2} | more
    config = pathlib.Path(__file__).resolve().parents[2] / "configs/recipes" / recipe
    run("mose-train", "--config", config, *(f"--set={key}={value}" for key, value in sets.items()), "--run", folder / "run")


def save_tower(folder, model):
    """The tower as a checkpoint of its own, with a class that transformers has."""
    alone = CLIPVisionModel(model.config.vision_config)
    state = {key: value for key, value in model.model.vision_tower.state_dict().items()}
    alone.load_state_dict(state)
    alone.save_pretrained(folder)
    write_processor(folder, model.config.vision_config)
