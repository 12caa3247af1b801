"""Layouts that transformers does not have, against what it has under other names (LLaVA's own layout; Qwen's first
version is Qwen2 with fused projections) or against a plain form written here (MoE-LLaVA's gate)."""

import copy
import json
import math
import pathlib
import sys

import torch
from transformers import CLIPVisionConfig, LlamaConfig, PhiConfig, Qwen2Config, StableLmConfig

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from small_models import (PARTIAL, check, compare, ours, random_input, random_model, run, run_checks, save_tower, text,  # noqa: E402
                          tower, write_part)


def original(key, value, decoder="model."):
    """A tensor of LlavaForConditionalGeneration, its name under LLaVA's own names; None for the tower."""
    if ".vision_tower." in key:
        return None
    key = key.replace("model.multi_modal_projector.linear_1", "model.mm_projector.0").replace(
        "model.multi_modal_projector.linear_2", "model.mm_projector.2")
    return key.replace("model.language_model.", decoder), value


def own_config(model, **more):
    config = model.config.text_config.to_dict()
    rope = config.pop("rope_parameters")
    return config | {"rope_theta": rope["rope_theta"], "mm_vision_tower": "clip", "mm_projector_type": "mlp2x_gelu",
                     "mm_vision_select_layer": -2, "mm_vision_select_feature": "patch", "mm_use_im_start_end": False,
                     "mm_use_im_patch_token": False, "image_aspect_ratio": "pad"} | more


def check_original_llava(folder):
    model = random_model(tower(CLIPVisionConfig), text(LlamaConfig, rope_theta=10000.0), {})
    tensors = dict(filter(None, (original(key, value) for key, value in model.state_dict().items())))
    write_part(folder / "hf", tensors, own_config(model, model_type="llava_llama"))
    save_tower(folder / "tower", model)
    said = run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours", code=2)
    check("--vision" in said, said)
    run("mose-model", "import", "--from", folder / "hf", "--vision", folder / "tower", "--out", folder / "ours")
    check(json.loads((folder / "ours/preprocessor_config.json").read_text())["mode"] == "pad", "image_aspect_ratio pad was lost")
    ids, pixels = random_input(16)
    compare("LLaVA's own layout", ours(folder, folder / "ours", ids, pixels), model, ids, pixels)


def check_qwen(folder):
    """Qwen's first version: Qwen2 with fused projections, in LLaVA's own layout."""
    model = random_model(tower(CLIPVisionConfig), text(Qwen2Config, num_key_value_heads=4, rope_theta=10000.0), {})
    tensors, fused = {}, {}
    names = {"embed_tokens": "wte", "layers.": "h.", "input_layernorm": "ln_1", "post_attention_layernorm": "ln_2",
             "self_attn.o_proj": "attn.c_proj", "mlp.gate_proj": "mlp.w2", "mlp.up_proj": "mlp.w1", "mlp.down_proj": "mlp.c_proj"}
    for key, value in filter(None, (original(k, v, "transformer.") for k, v in model.state_dict().items())):
        if key.startswith("transformer."):
            for mine, theirs in names.items():
                key = key.replace(mine, theirs)
            key = key.replace("transformer.norm.", "transformer.ln_f.")
        for i, part in enumerate("qkv"):
            if f"self_attn.{part}_proj" in key:
                fused.setdefault(key.replace(f"self_attn.{part}_proj", "attn.c_attn"), [None] * 3)[i] = value
        if "self_attn" not in key:
            tensors[key] = value
    tensors |= {key: torch.cat(parts) for key, parts in fused.items()}
    c = model.config.text_config
    config = {"model_type": "llava_qwen", "vocab_size": c.vocab_size, "hidden_size": c.hidden_size, "num_hidden_layers": c.num_hidden_layers,
              "intermediate_size": 2 * c.intermediate_size, "num_attention_heads": c.num_attention_heads, "seq_length": 512,
              "kv_channels": c.hidden_size // c.num_attention_heads, "layer_norm_epsilon": c.rms_norm_eps, "no_bias": True,
              "rotary_emb_base": 10000, "rotary_pct": 1.0}
    keys = {key: value for key, value in own_config(model).items() if key.startswith(("mm_", "image_aspect"))}
    write_part(folder / "hf", tensors, config | keys)
    save_tower(folder / "tower", model)
    run("mose-model", "import", "--from", folder / "hf", "--vision", folder / "tower", "--out", folder / "ours")
    ids, pixels = random_input(16)
    compare("qwen", ours(folder, folder / "ours", ids, pixels), model, ids, pixels)


class Gate(torch.nn.Module):
    """MoE-LLaVA's sparse layer written from its description: a top-2 gate with capacity, and its experts."""

    def __init__(self, dense, width, experts, factor, minimum):
        super().__init__()
        self.wg = torch.nn.Linear(width, experts, bias=False)
        self.experts = torch.nn.ModuleList(copy.deepcopy(dense) for _ in range(experts))
        self.factor, self.minimum = factor, minimum

    def forward(self, x):
        rows = x.reshape(-1, x.shape[-1])
        logits = self.wg(rows.float())
        gates = logits.softmax(1)
        first = gates.argmax(1)
        second = logits.scatter(1, first[:, None], -math.inf).argmax(1)
        capacity = max(math.ceil(len(rows) / len(self.experts) * 2 * self.factor), self.minimum)
        queue, kept = [0] * len(self.experts), torch.zeros(len(rows), 2)
        for k, chosen in enumerate((first, second)):
            for t, expert in enumerate(chosen.tolist()):
                kept[t, k] = queue[expert] < capacity
                queue[expert] += 1
        weights = torch.stack([gates.gather(1, c[:, None])[:, 0] for c in (first, second)], 1) * kept
        weights = weights / weights.sum(1, keepdim=True).clamp_min(torch.finfo(torch.float32).eps)
        self.dropped = int((kept == 0).sum())
        out = torch.zeros_like(rows)
        for k, chosen in enumerate((first, second)):
            for e, expert in enumerate(self.experts):
                out = out + expert(rows) * (weights[:, k] * (chosen == e))[:, None]
        return out.reshape(x.shape)


def check_moe_llava(folder):
    for family, kind, factor, cached in (("stablelm", StableLmConfig, 8.0, True), ("stablelm", StableLmConfig, 0.6, False),
                                         ("phi", PhiConfig, 8.0, True)):
        here = folder / f"{family}{factor}"
        more = {"use_qkv_bias": True} if family == "stablelm" else {}
        model = random_model(tower(CLIPVisionConfig), text(kind, hidden_size=32, rope_parameters=PARTIAL, **more), {})
        layers = model.model.language_model.layers
        for i in (0, 2):
            layers[i].mlp = Gate(layers[i].mlp, 32, 4, factor, 0)
            torch.nn.init.normal_(layers[i].mlp.wg.weight, 0, 0.5)
            for value in layers[i].mlp.experts.parameters():
                torch.nn.init.normal_(value, 0.03, 0.15)
        tensors = {}
        for key, value in model.state_dict().items():
            key = key.replace("model.vision_tower.", "model.image_tower.image_tower.vision_model.").replace("vision_model.vision_model.", "vision_model.")
            key = key.replace("mlp.wg.", "mlp.deepspeed_moe.gate.wg.").replace("mlp.experts.", "mlp.deepspeed_moe.experts.deepspeed_experts.")
            key = key.replace("model.multi_modal_projector.linear_1", "model.mm_projector.image_spatial_proj.0").replace(
                "model.multi_modal_projector.linear_2", "model.mm_projector.image_spatial_proj.2").replace("model.language_model.", "model.")
            tensors[key] = value
        config = own_config(model, model_type=f"moe_llava_{family}", mm_image_tower="clip", image_projector_type="mlp2x_gelu",
                            rope_pct=0.5, partial_rotary_factor=0.5, norm_eps=model.config.text_config.layer_norm_eps,
                            moe={"moe_enable": True, "moe_layers_idx": [0, 2], "num_experts": [4, 4], "top_k_experts": 2,
                                 "capacity_factor": 1.5, "eval_capacity_factor": factor, "min_capacity": 0, "use_residual": False})
        config.pop("mm_vision_tower")
        write_part(here / "hf", tensors, config)
        save_tower(here / "tower", model)
        run("mose-model", "import", "--from", here / "hf", "--vision", here / "tower", "--out", here / "ours")
        ids, pixels = random_input(16)
        found = ours(here, here / "ours", ids, pixels)
        rename_gradients(found, model)
        compare(f"MoE-LLaVA {family}, capacity factor {factor}", found, model, ids, pixels, cached)
        check((layers[0].mlp.dropped > 0) == (factor < 1), f"{layers[0].mlp.dropped} choices were dropped")


def rename_gradients(found, model):
    """Stacked experts as the modules of Gate name them."""
    for key in [k for k in found if ".mlp.experts." in k or ".mlp.gate." in k]:
        value = found.pop(key)
        head, tail = key.split(".mlp.")
        if tail == "gate.weight":
            found[f"{head}.mlp.wg.weight"] = value
            continue
        for e in range(value.shape[0]):
            at = f"{head}.mlp.experts.{e}"
            if tail == "experts.gate_up_proj":
                found[f"{at}.gate_proj.weight"], found[f"{at}.up_proj.weight"] = value[e].chunk(2)
            elif tail == "experts.down_proj":
                found[f"{at}.down_proj.weight"] = value[e]
            else:
                found[f"{at}.{tail.removeprefix('experts.')}"] = value[e]


if __name__ == "__main__":
    run_checks("own_layouts", [(check_.__name__, check_) for check_ in (check_original_llava, check_qwen, check_moe_llava)])
