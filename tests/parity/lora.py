"""Adapters against Hugging Face's PEFT: the same adapter on the same model gives the same logits and the same gradients,
attached and merged; and what a run writes, PEFT opens on the exported base."""

import copy
import pathlib
import re
import subprocess
import sys

import torch
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file, save_file
from transformers import (CLIPVisionConfig, LlamaConfig, LlavaForConditionalGeneration, PhiConfig, Qwen2Config, Qwen2MoeConfig,
                          SiglipVisionConfig)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from small_models import (BIN, IMAGE, LIMIT, PARTIAL, check, ours, patches_of, random_input, random_model, run,  # noqa: E402
                          run_checks, text, tower, train_joined, worst, write_processor)

FULL = {"vision_feature_select_strategy": "full"}
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
EXPERTS = ["mlp.experts.gate_up_proj", "mlp.experts.down_proj"]
SPARSE = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=20, shared_expert_intermediate_size=12)
# name -> tower, decoder, keys of the whole model, and where the adapters are.
MODELS = {
    # Those of the tower's last block have no place in a model that takes the states before it.
    "qwen2_and_tower": (tower(CLIPVisionConfig), text(Qwen2Config), {},
                        dict(target_modules=[*ATTENTION, "gate_proj", "up_proj", "down_proj", "linear_1", "linear_2", "fc1", "lm_head"])),
    "llama_patterns": (tower(SiglipVisionConfig), text(LlamaConfig, attention_bias=True, mlp_bias=True), FULL,
                       dict(target_modules=r"model\.language_model\.layers\.\d+\.(self_attn|mlp)\.\w+_proj", use_rslora=True,
                            rank_pattern={"up_proj": 5}, alpha_pattern={r"layers\.[01]\.mlp\.(up|down)_proj": 2.5})),
    "phi": (tower(SiglipVisionConfig), text(PhiConfig, rope_parameters=PARTIAL, hidden_size=32), FULL,
            dict(target_modules=r"model\.language_model\..*\.(dense|q_proj|fc1|fc2)")),
    "qwen2_moe": (tower(SiglipVisionConfig), text(Qwen2MoeConfig, **SPARSE, mlp_only_layers=[1]), FULL,
                  dict(target_modules=r"model\.language_model\..*\.(q_proj|gate_proj|up_proj|down_proj)", target_parameters=EXPERTS)),
    "qwen2_moe_gate_up_alone": (tower(SiglipVisionConfig), text(Qwen2MoeConfig, **SPARSE), FULL,
                                dict(target_modules=[], target_parameters=EXPERTS[:1], alpha_pattern={"experts.gate_up_proj": 7})),
}


def with_adapter(folder, model_dir, adapter, ids, pixels):
    save_file({"input_ids": ids[0].contiguous(), "pixels": pixels}, folder / "in.safetensors")
    done = subprocess.run([BIN / "model_for_parity", model_dir, folder / "in.safetensors", folder / "out.safetensors", adapter],
                          capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == 0, done.stderr)
    return load_file(folder / "out.safetensors")


def our_gradient(name, grad, experts, alone):
    """PEFT's name and gradient of A or B as ours: of E stacked experts [E, r, in] and [E, out, r]."""
    module, which = re.fullmatch(r"base_model\.model\.(.*)\.lora_([AB])\.default\.weight", name).groups()
    module = module.replace(".self_attn.dense", ".self_attn.o_proj")
    if re.search(r"\.experts(\.base_layer)?$", module):
        inner = module.endswith(".base_layer") or alone
        module = module.removesuffix(".base_layer") + (".gate_up_proj" if inner else ".down_proj")
        grad = grad.view(experts, -1, grad.shape[1]) if which == "A" else grad.view(grad.shape[0], -1, experts).permute(2, 0, 1)
    return f"grad.{module}.lora_{which}", grad


def check_model(folder, name):
    vision, language, more, where = MODELS[name]
    model = random_model(copy.deepcopy(vision), copy.deepcopy(language), more)
    model.save_pretrained(folder / "hf")
    write_processor(folder / "hf", vision)
    run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    ids, pixels = random_input(patches_of(model))
    with torch.no_grad():
        plain = model(input_ids=ids, pixel_values=pixels).logits[0]
    adapted = get_peft_model(model, LoraConfig(r=3, lora_alpha=5, **where))
    torch.manual_seed(4)
    for key, value in adapted.named_parameters():
        check(value.requires_grad == ("lora_" in key), f"{name}: {key} trains")
        if value.requires_grad:
            value.data.normal_(0, 0.3)
    adapted.save_pretrained(folder / "adapter")
    logits = adapted(input_ids=ids, pixel_values=pixels).logits[0]
    torch.nn.functional.cross_entropy(logits[:-1], ids.masked_fill(ids == IMAGE, -100)[0, 1:]).backward()
    check(worst(plain, logits) > 1e-2, f"{name}: the adapter changes nothing, so the test shows nothing")

    found = with_adapter(folder, folder / "ours", folder / "adapter", ids, pixels)
    differences = {"logits": worst(found["logits"], logits), "cached": worst(found["cached_logits"], logits)}
    gradients = {}
    for key, value in adapted.named_parameters():
        if value.grad is not None and value.grad.abs().max() > 0:
            ours_key, grad = our_gradient(key, value.grad, SPARSE["num_experts"], "alone" in name)
            gradients[ours_key] = grad
    seen = {key for key in found if key.startswith("grad.")}
    check(seen == gradients.keys() and len(seen) > 4, f"{name}: gradients of {sorted(seen ^ gradients.keys())[:6]} on one side alone")
    for key, grad in gradients.items():
        if grad.abs().max() > 1e-7:  # a key's bias moves no softmax: rounding only
            differences[key] = worst(found[key], grad)
    run("mose-model", "merge", "--model", folder / "ours", "--adapter", folder / "adapter", "--out", folder / "merged")
    differences["merged"] = worst(ours(folder, folder / "merged", ids, pixels)["logits"], logits)
    bad = {key: value for key, value in differences.items() if not value < LIMIT}
    check(not bad, f"{name}: {bad}")
    print(f"{name}: {len(differences)} comparisons, the worst differs by {max(differences.values()):.1e}", flush=True)


def check_trained(folder):
    """Joined, made sparse and trained with adapters by the recipe for that; PEFT on the exported base computes what the
    merged model of the run does."""
    train_joined(folder, tower(CLIPVisionConfig), "coda_qwen2_5_1_5b_x4_lora.json",
                 **{"stages.finetune.steps": 4, "stages.finetune.lr": 0.02, "stages.finetune.lora.rank": 4})
    adapter = folder / "run/adapters/finetune"
    run("mose-model", "export", adapter / "base", "--format", "hf", "--out", folder / "base_hf")
    ids, pixels = random_input(16)
    base = LlavaForConditionalGeneration.from_pretrained(folder / "base_hf").eval()
    with torch.no_grad():
        plain = base(input_ids=ids, pixel_values=pixels).logits[0]
        opened = PeftModel.from_pretrained(base, adapter).eval()
        theirs = opened(input_ids=ids, pixel_values=pixels).logits[0]
    mine = ours(folder, folder / "run/model", ids, pixels)["logits"]
    check(worst(plain, mine) > 1e-3, "the adapters changed nothing")
    check(worst(theirs, mine) < LIMIT, f"PEFT on the exported base: logits differ by {worst(theirs, mine):.1e}")
    in_file = {key for key in load_file(adapter / "adapter_model.safetensors")}
    check(any(".experts.base_layer." in key for key in in_file), "no adapters on experts")
    print(f"trained here, opened by PEFT: logits differ by {worst(theirs, mine):.1e}", flush=True)


if __name__ == "__main__":
    run_checks("lora", [*((name, lambda folder, name=name: check_model(folder, name)) for name in MODELS), ("check_trained", check_trained)])
