"""LLaVA-NeXT (LLaVA-1.6) from small checkpoints with random weights, for pictures of many sizes: the processor's ids,
the model's logits, gradients of a step, greedy tokens; back into transformers; its own layout; clear refusals."""

import json
import pathlib
import sys

import numpy as np
import torch
from PIL import Image
from safetensors.torch import load_file
from transformers import (CLIPVisionConfig, LlamaConfig, LlavaNextConfig, LlavaNextForConditionalGeneration, LlavaNextProcessor,
                          MistralConfig, PreTrainedTokenizerFast, Qwen2Config, SiglipVisionConfig)
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from own_layouts import original, own_config  # noqa: E402
from small_models import (IMAGE, LIMIT, SIZE, check, check_export, compare, ours, random_model, run, run_checks, save_tower, text,  # noqa: E402
                          tower, worst, write_part, write_processor)

PROMPT = "<image>\nA red car in the ego lane. Slow down!"
PINPOINTS = [[28, 56], [56, 28], [56, 56], [84, 28], [28, 84]]  # [height, width]
UNEVEN = [[28, 28], [28, 84], [84, 56], [56, 112]]
FULL = {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}
NEXT = {"config": LlavaNextConfig, "whole": LlavaNextForConditionalGeneration}
MODELS = {
    "clip_llama": (tower(CLIPVisionConfig), text(LlamaConfig, head_dim=10), {"image_grid_pinpoints": PINPOINTS}),
    "clip_mistral_tied": (tower(CLIPVisionConfig), text(MistralConfig, sliding_window=40),
                          {"image_grid_pinpoints": UNEVEN, "tie_word_embeddings": True}),
    "siglip_qwen2": (tower(SiglipVisionConfig), text(Qwen2Config, num_key_value_heads=1), FULL | {"image_grid_pinpoints": UNEVEN}),
}
# Wide, tall, square, smaller than a tile, the tile itself, odd, a canvas' own, and so thin that no line of cells is left.
PICTURES = [(200, 60), (50, 170), (90, 90), (13, 11), (28, 28), (101, 67), (56, 84), (301, 2)]


def write_pictures(folder):
    drawn = np.random.default_rng(3)
    files = []
    for width, height in PICTURES:
        files.append(folder / f"{width}x{height}.png")
        Image.fromarray(drawn.integers(0, 256, (height, width, 3), np.uint8)).save(files[-1])
    return files


def processor_of(folder, vision, pinpoints):
    """The processor; its files beside the model's, in version 4's form for CLIP (which people have), in 5's for SigLIP."""
    write_processor(folder, vision)
    clip = vision.model_type == "clip_vision_model"
    images = LlavaNextImageProcessorPil(size={"shortest_edge": SIZE}, crop_size={"height": SIZE, "width": SIZE}, image_grid_pinpoints=pinpoints)
    tokenizer = PreTrainedTokenizerFast(tokenizer_file=str(folder / "tokenizer.json"))
    processor = LlavaNextProcessor(images, tokenizer, patch_size=vision.patch_size, num_additional_image_tokens=int(clip),
                                   vision_feature_select_strategy="default" if clip else "full")
    if clip:
        images.save_pretrained(folder)
    else:
        (folder / "preprocessor_config.json").unlink()
        processor.save_pretrained(folder)
        check("image_grid_pinpoints" in (folder / "processor_config.json").read_text(), "processor_config.json is not of the new form")
    return processor


def write_checkpoint(name, folder):
    vision, language, more = MODELS[name]
    model = random_model(vision, language, more, **NEXT)
    model.save_pretrained(folder / "hf")
    return model, processor_of(folder / "hf", vision, more["image_grid_pinpoints"])


def their_input(processor, files, prompt=PROMPT):
    """ids, all tiles without the empty ones that fill a batch, sizes."""
    said = processor(images=[Image.open(f) for f in files], text=prompt, return_tensors="pt")
    tiles = [processor.image_processor(Image.open(f), return_tensors="pt")["pixel_values"][0] for f in files]
    return said["input_ids"], torch.cat(tiles), said["image_sizes"]


def check_logits(name, folder, files, theirs, processor, model_dir):
    """Through the program: picture and prompt in, ids and logits out."""
    worst_of, rows = 0.0, set()
    for file in files:
        run("mose-infer", "logits", "--model", model_dir, "--image", file, "--prompt", PROMPT.removeprefix("<image>\n"), "--out",
            folder / "logits.safetensors")
        mine = load_file(folder / "logits.safetensors")
        ids, pixels, sizes = their_input(processor, [file])
        check(torch.equal(mine["input_ids"], ids[0]), f"{name}, {file.name}: ids differ: {mine['input_ids'].shape} and {ids.shape}")
        with torch.no_grad():
            want = theirs(input_ids=ids, pixel_values=pixels, image_sizes=sizes).logits[0]
        worst_of = max(worst_of, worst(mine["logits"], want))
        check(worst_of < LIMIT, f"{name}, {file.name}: logits differ by {worst_of:.1e}")
        rows.add(int((ids == IMAGE).sum()))
    check(len(rows) > 4, f"{name}: the pictures take {rows} rows, so they try little")
    print(f"{name}: {len(files)} pictures of {min(rows)} to {max(rows)} rows, the worst logits differ by {worst_of:.1e}", flush=True)


def check_model(name, folder, files):
    model, processor = write_checkpoint(name, folder)
    run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    check_logits(name, folder, files, model, processor, folder / "ours")
    prompt = "What <image> is\nbefore <image> this: the road is free, go on."
    ids, pixels, sizes = their_input(processor, [files[0], files[5]], prompt)
    found = ours(folder, folder / "ours", ids, pixels, image_sizes=sizes)
    check("grad.model.image_newline" in found, "no gradient of the newline")
    compare(name + ", two pictures in a prompt", found, model, ids, pixels, image_sizes=sizes)
    check_export(name, folder, folder / "ours", model, ids, pixels, whole=LlavaNextForConditionalGeneration, image_sizes=sizes)
    again = LlavaNextProcessor(LlavaNextImageProcessorPil.from_pretrained(folder / "back"), processor.tokenizer,
                               **{key: value for key, value in json.loads((folder / "back/processor_config.json").read_text()).items()
                                  if key in ("patch_size", "num_additional_image_tokens", "vision_feature_select_strategy")})
    for mine, want in zip(their_input(again, [files[0], files[5]], prompt), (ids, pixels, sizes)):
        check(torch.equal(mine, want), f"{name}: the exported processor makes another input")
    run("mose-model", "import", "--from", folder / "back", "--out", folder / "again")
    check(torch.equal(ours(folder, folder / "again", ids, pixels, image_sizes=sizes)["logits"], found["logits"]), "imported again, logits differ")


def check_sparse(folder, files):
    """Upcycled to skill-routed experts: the same logits, and transformers opens it as LLaVA-NeXT over Qwen2-MoE."""
    model, processor = write_checkpoint("siglip_qwen2", folder)
    run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    run("mose-model", "init", "--from", folder / "ours", "--upcycle", "sparse", "--set", "moe.experts=4", "--set", 'moe.router="skill"',
        "--out", folder / "sparse")
    ids, pixels, sizes = their_input(processor, [files[0]])
    with torch.no_grad():
        want = model(input_ids=ids, pixel_values=pixels, image_sizes=sizes).logits[0]
    difference = worst(ours(folder, folder / "sparse", ids, pixels, image_sizes=sizes)["logits"], want)
    check(difference < LIMIT, f"upcycled, logits differ by {difference:.1e}")
    check_export("upcycled", folder, folder / "sparse", model, ids, pixels, whole=LlavaNextForConditionalGeneration, image_sizes=sizes)


def check_trained(folder, files):
    """Imported, made sparse and trained on driving scenes, exported: transformers computes the same."""
    _, processor = write_checkpoint("siglip_qwen2", folder)
    run("mose-model", "import", "--from", folder / "hf", "--chat-template", "chatml", "--out", folder / "ours")
    run("mose-data", "scenes", "--out", folder / "set", "--train", 4, "--val", 2, "--test", 1, "--seed", 3)
    sets = {"init_from": folder / "ours", "data.root": folder / "set", "moe.router": '"skill"', "data.encode.max_tokens": 2048,
            "stages.projector.accumulate": 2, "stages.dense.steps": 3, "stages.router.loss.stage.value": 0,
            "stages.finetune.loss.stage.value": 0, "stages.finetune.steps": 2, "data.max_validation": 2}
    recipe = pathlib.Path(__file__).resolve().parents[2] / "configs/recipes/smoke.json"
    run("mose-train", "--config", recipe, *(f"--set={key}={value}" for key, value in sets.items()), "--run", folder / "run")
    ids, pixels, sizes = their_input(processor, [files[0]])
    found = ours(folder, folder / "run/model", ids, pixels, image_sizes=sizes)["logits"]
    before = load_file(folder / "ours/model.safetensors")["model.image_newline"]
    check(worst(load_file(folder / "run/model/model.safetensors")["model.image_newline"], before) > 1e-3, "training left the newline as it was")
    check_export("trained", folder, folder / "run/model", None, ids, pixels, logits=found, whole=LlavaNextForConditionalGeneration,
                 image_sizes=sizes)
    print("imported, made sparse, trained by skill, exported: the same logits in transformers", flush=True)


def check_own_layout(folder, files):
    """LLaVA-1.6's own: the tower's weights inside, pinpoints as [width, height]."""
    vision, language, more = tower(CLIPVisionConfig), text(LlamaConfig, rope_theta=10000.0), {"image_grid_pinpoints": UNEVEN}
    model = random_model(vision, language, more, **NEXT)
    tensors = dict(filter(None, (original(key, value) for key, value in model.state_dict().items())))
    inside = "model.vision_tower.vision_tower.vision_model."
    tensors |= {key.replace("model.vision_tower.", inside): value for key, value in model.state_dict().items() if ".vision_tower." in key}
    config = own_config(model, model_type="llava_llama", image_aspect_ratio="anyres", mm_patch_merge_type="spatial_unpad",
                        image_grid_pinpoints=[[width, height] for height, width in UNEVEN])
    write_part(folder / "hf", tensors, config)
    save_tower(folder / "tower", model)
    source = ("--from", folder / "hf", "--vision", folder / "tower")
    run("mose-model", "import", *source, "--out", folder / "ours")
    check_logits("LLaVA-1.6's own layout", folder, files, model, processor_of(folder / "theirs", vision, UNEVEN), folder / "ours")
    for change, says in (({"mm_patch_merge_type": "flat"}, "mm_patch_merge_type"), ({"image_aspect_ratio": "anyres_max_9"}, "anyres_max_9"),
                         ({"image_aspect_ratio": "pad"}, "mm_patch_merge_type"), ({"image_grid_pinpoints": "(1x1),...,(6x6)"}, "image_grid_pinpoints")):
        (folder / "hf/config.json").write_text(json.dumps(config | change))
        said = run("mose-model", "import", *source, "--out", folder / "out", code=3)
        check(says in said and not (folder / "out").exists(), f"{change}: {said}")


def check_refusals(folder, _):
    write_checkpoint("clip_llama", folder)
    files = {name: folder / "hf" / name for name in ("config.json", "preprocessor_config.json")}
    good = {name: json.loads(file.read_text()) for name, file in files.items()}
    odd = {"image_grid_pinpoints": [[28, 50]]}
    for changes, *says in (
            ({"config.json": odd, "preprocessor_config.json": odd}, "config.json", "50 x 28"),
            ({"config.json": {"image_grid_pinpoints": [[28, 56]]}}, "preprocessor_config.json", "image_grid_pinpoints", "[[28,56]]"),
            ({"config.json": {"image_grid_pinpoints": [[28]]}}, "config.json", "image_grid_pinpoints", "[28]"),
            ({"config.json": {"image_grid_pinpoints": []}}, "config.json", "image_grid_pinpoints"),
            ({"config.json": {"model_type": "llava"}}, "preprocessor_config.json", "image_grid_pinpoints"),
            ({"config.json": {"model_type": "llava_onevision"}}, "model_type", "llava_onevision"),
            ({"preprocessor_config.json": {"image_processor_type": "CLIPImageProcessor"}}, "image_grid_pinpoints"),
            ({"preprocessor_config.json": {"crop_size": {"height": 14, "width": 14}}}, "crop_size"),
            ({"preprocessor_config.json": {"aspect_ratio_setting": "pad"}}, "aspect_ratio_setting", "pad")):
        for name, file in files.items():
            file.write_text(json.dumps(good[name] | changes.get(name, {})))
        said = run("mose-model", "import", "--from", folder / "hf", "--out", folder / "out", code=3)
        check(all(text_ in said for text_ in says) and not (folder / "out").exists(), f"{changes}: {said}")


def with_pictures(work, *before):
    """A check of run_checks that gets the folder and pictures in it."""
    def check_in(folder):
        (folder / "pictures").mkdir()
        work(*before, folder, write_pictures(folder / "pictures"))
    return check_in


if __name__ == "__main__":
    run_checks("llava_next", [*((name, with_pictures(check_model, name)) for name in MODELS),
                              *((check_.__name__, with_pictures(check_))
                                for check_ in (check_sparse, check_trained, check_own_layout, check_refusals))])
