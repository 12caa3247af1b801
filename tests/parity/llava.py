"""LLaVA checkpoints that transformers writes, imported: the same logits, the same tensors, clear refusals."""

import json
import pathlib
import sys
import tempfile

import numpy as np
import torch
from PIL import Image
from safetensors.numpy import load_file
from safetensors.torch import load_file as load_torch
from transformers import CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration, Qwen2Config, SiglipVisionConfig

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from small_models import IMAGE, SIZE, check, run, text, tower, write_processor  # noqa: E402

PROMPT = "<image>\nA red car in the ego lane. Slow down!"


# Odd head sizes, grouped heads, tied and untied embeddings, both towers, several feature layers.
MODELS = {
    "clip_llama": (tower(CLIPVisionConfig), text(LlamaConfig, head_dim=10, rope_theta=5000.0), {}),
    "clip_gelu_llama_tied": (tower(CLIPVisionConfig, hidden_act="gelu"), text(LlamaConfig, num_key_value_heads=4),
                             {"vision_feature_layer": -1, "tie_word_embeddings": True}),
    "siglip_qwen2": (tower(SiglipVisionConfig), text(Qwen2Config, num_key_value_heads=1),
                     {"vision_feature_select_strategy": "full", "vision_feature_layer": -1}),
    "siglip_qwen2_layer_2": (tower(SiglipVisionConfig), text(Qwen2Config), {"vision_feature_select_strategy": "full",
                                                                          "vision_feature_layer": 2}),
}


def write_checkpoint(folder, vision, language, more, dtype=torch.float32, shard="5GB"):
    torch.manual_seed(7)
    model = LlavaForConditionalGeneration(LlavaConfig(vision_config=vision, text_config=language, image_token_index=IMAGE, **more))
    with torch.no_grad():
        for value in model.parameters():  # nothing is zero or one, as it would be in a new model
            value.normal_(0, 0.2).add_(0.05)
    model = model.to(dtype).eval()
    model.save_pretrained(folder, max_shard_size=shard)
    return model, write_processor(folder, vision)


def check_logits(name, folder, picture):
    model, processor = write_checkpoint(folder / "hf", *MODELS[name])
    run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    run("mose-infer", "logits", "--model", folder / "ours", "--image", picture, "--prompt", PROMPT.removeprefix("<image>\n"),
        "--out", folder / "logits.safetensors")
    ours = load_file(folder / "logits.safetensors")
    ids = torch.tensor(ours["input_ids"])[None]
    check((ids == IMAGE).sum() == (SIZE // 7) ** 2, f"{name}: {int((ids == IMAGE).sum())} image tokens")
    pixels = processor(Image.open(picture), return_tensors="pt")["pixel_values"]
    with torch.no_grad():
        theirs = model(input_ids=ids, pixel_values=pixels).logits[0].numpy()
        blind = model(input_ids=ids, pixel_values=torch.zeros_like(pixels)).logits[0].numpy()
    scale = np.abs(theirs).max()
    error = np.abs(ours["logits"] - theirs).max() / scale
    check(np.abs(blind - theirs).max() / scale > 1e-2, f"{name}: the picture changes nothing, so the test shows nothing")
    check(error < 1e-4, f"{name}: logits differ by {error:.2e}")
    run("mose-model", "init", "--from", folder / "ours", "--upcycle", "sparse", "--set", "moe.experts=4", "--out", folder / "sparse")
    run("mose-infer", "logits", "--model", folder / "sparse", "--image", picture, "--prompt", PROMPT.removeprefix("<image>\n"),
        "--out", folder / "sparse.safetensors")
    upcycled = np.abs(load_file(folder / "sparse.safetensors")["logits"] - theirs).max() / scale
    check(upcycled < 1e-4, f"{name}: upcycled to skill-routed experts, logits differ by {upcycled:.2e}")
    print(f"{name}: logits of {ids.shape[1]} rows, largest relative difference {error:.1e}")


def check_tensors(folder):
    """A sharded bfloat16 checkpoint: the values are not changed, nor their type."""
    write_checkpoint(folder / "hf", *MODELS["clip_llama"], dtype=torch.bfloat16, shard="20KB")
    check(len(list((folder / "hf").glob("*.safetensors"))) > 1, "the checkpoint is not sharded")
    said = run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    theirs = {}
    for shard in (folder / "hf").glob("*.safetensors"):
        theirs |= load_torch(shard)
    ours = load_torch(folder / "ours/model.safetensors")
    for name, value in ours.items():
        source = name.replace("model.language_model.", "language_model.model.").replace("lm_head", "language_model.lm_head")
        source = source.removeprefix("model.") if "language_model" not in source else source
        check(value.dtype == torch.bfloat16 and torch.equal(value, theirs[source]), f"{name} was changed")
    # The last block (16 tensors) and the norm after it (2) serve no feature layer -2.
    check(len(theirs) - len(ours) == 18 and "18 tensors" in said, f"left out: {len(theirs) - len(ours)}; said: {said}")


def check_refusals(folder):
    write_checkpoint(folder / "hf", *MODELS["clip_llama"])
    config = folder / "hf/config.json"
    good = config.read_text()

    def refused(change, *says):
        value = json.loads(good)
        change(value)
        config.write_text(json.dumps(value))
        error = run("mose-model", "import", "--from", folder / "hf", "--out", folder / "out", code=3)
        for text_ in says:
            check(text_ in error, f"stderr lacks {text_!r}: {error}")
        check(not (folder / "out").exists(), "something was written")

    refused(lambda v: v["text_config"].update(rope_parameters={"rope_type": "yarn", "factor": 4.0}), "rope_type", "yarn")
    refused(lambda v: v["text_config"].update(attention_bias=True), "_proj.bias", "no tensor named")
    refused(lambda v: (v["text_config"].pop("rope_parameters"), v["text_config"].update(rope_scaling={"type": "dynamic", "factor": 2.0})),
            "rope_scaling", "dynamic")
    refused(lambda v: v.update(tie_word_embeddings=True), "lm_head.weight", "has no place")
    refused(lambda v: v["text_config"].update(model_type="mamba"), "mamba", "llama, mistral, qwen2")
    refused(lambda v: v["text_config"].update(intermediate_size=40), "down_proj.weight", "expected shape [24, 40]", "[24, 44]")
    refused(lambda v: v["text_config"].update(num_hidden_layers=4), "layers.3", "no tensor named")
    refused(lambda v: v["text_config"].update(num_hidden_layers=2), "layers.2", "has no place")
    refused(lambda v: v.update(vision_feature_layer=-9), "vision_feature_layer", "-9")
    refused(lambda v: v.update(vision_feature_select_strategy="full"), "vision_feature_select_strategy", "full")
    refused(lambda v: v.update(image_token_index=7), "<image>", "7")
    refused(lambda v: v.pop("vision_config"), "config.json", "vision_config")
    refused(lambda v: v["text_config"].update(hidden_size="wide"), "hidden_size", "wide")
    config.write_text(good)
    weights = folder / "hf/model.safetensors"
    weights.write_bytes(weights.read_bytes()[:1000])
    error = run("mose-model", "import", "--from", folder / "hf", "--out", folder / "out", code=3)
    check("model.safetensors" in error and not (folder / "out").exists(), f"truncated weights: {error}")


def main():
    with tempfile.TemporaryDirectory(prefix="mose_llava_") as name:
        folder = pathlib.Path(name)
        picture = folder / "picture.png"
        Image.fromarray(np.random.default_rng(3).integers(0, 256, (SIZE, SIZE, 3), np.uint8)).save(picture)
        for model in MODELS:
            (folder / model).mkdir()
            check_logits(model, folder / model, picture)
        for test in (check_tensors, check_refusals):
            (folder / test.__name__).mkdir()
            test(folder / test.__name__)
    print("llava: passed")


if __name__ == "__main__":
    main()
