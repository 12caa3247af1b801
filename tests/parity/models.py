"""Every family of decoders and towers against transformers, from small checkpoints with random weights:
logits, the states between all layers, gradients of one step, 64 greedy tokens, decoding out of a cache; and
back: what is exported opens in transformers and computes the same.

Families that transformers does not have are held against what it has under other names (Qwen is Qwen2 with
fused projections; LLaVA's own layout is its own under other names) or against a plain form written here
(MoE-LLaVA's gate)."""

import copy
import json
import math
import os
import pathlib
import subprocess
import sys
import tempfile

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from transformers import (CLIPVisionConfig, CLIPVisionModel, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration,
                          MistralConfig, MixtralConfig, PhiConfig, Qwen2Config, Qwen2MoeConfig, SiglipVisionConfig,
                          StableLmConfig)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from llava import IMAGE, SIZE, check, run, text, tower, write_processor  # noqa: E402

BIN = pathlib.Path(os.environ["MOSE_BIN"])
GREEDY = 64
LIMIT = 1e-4

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
FULL = {"vision_feature_select_strategy": "full"}
PARTIAL = {"rope_type": "default", "rope_theta": 10000.0, "partial_rotary_factor": 0.5}
# Expert widths are multiples of 4: transformers' grouped products ask for rows of 16 bytes.
SPARSE_QWEN = dict(num_experts=5, num_experts_per_tok=2, moe_intermediate_size=20, shared_expert_intermediate_size=12)

# name -> tower, decoder, keys of the whole model, and whether it can be exported.
FAMILIES = {
    "llama_biases": (tower(CLIPVisionConfig), text(LlamaConfig, attention_bias=True, mlp_bias=True, head_dim=10), {}, True),
    "llama3_rope": (tower(CLIPVisionConfig), text(LlamaConfig, rope_parameters=LLAMA3), {"tie_word_embeddings": True}, True),
    "llama_linear_rope": (tower(CLIPVisionConfig), text(
        LlamaConfig, rope_parameters={"rope_type": "linear", "rope_theta": 10000.0, "factor": 2.5}), {}, True),
    "mistral_window": (tower(CLIPVisionConfig), text(MistralConfig, sliding_window=6), {}, True),
    "qwen2_window": (tower(SiglipVisionConfig), text(
        Qwen2Config, use_sliding_window=True, sliding_window=7, max_window_layers=1, num_hidden_layers=4), FULL, True),
    "siglip_without_its_first_patch": (tower(SiglipVisionConfig), text(Qwen2Config), {}, True),
    "stablelm": (tower(CLIPVisionConfig), text(StableLmConfig, use_qkv_bias=True, rope_parameters=PARTIAL, hidden_size=32), {}, True),
    "stablelm_parallel": (tower(CLIPVisionConfig), text(
        StableLmConfig, use_parallel_residual=True, rope_parameters=PARTIAL, hidden_size=32), {}, True),
    "phi": (tower(SiglipVisionConfig), text(PhiConfig, rope_parameters=PARTIAL, hidden_size=32), FULL, True),
    "mixtral": (tower(CLIPVisionConfig), text(MixtralConfig, num_local_experts=4, num_experts_per_tok=2, sliding_window=None), {}, True),
    "qwen2_moe": (tower(CLIPVisionConfig), text(
        Qwen2MoeConfig, **SPARSE_QWEN, mlp_only_layers=[1], num_hidden_layers=4), {}, True),
    "qwen2_moe_normalised": (tower(SiglipVisionConfig), text(
        Qwen2MoeConfig, **SPARSE_QWEN, norm_topk_prob=True, decoder_sparse_step=2, qkv_bias=False, num_hidden_layers=4), FULL, True),
}


def random_model(vision, language, more):
    torch.manual_seed(11)
    config = LlavaConfig(vision_config=vision, text_config=language, image_token_index=IMAGE, **more)
    model = LlavaForConditionalGeneration(config)
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


def ours(folder, model_dir, ids, pixels):
    save_file({"input_ids": ids[0].contiguous(), "pixels": pixels}, folder / "in.safetensors")
    done = subprocess.run([BIN / "model_for_parity", model_dir, folder / "in.safetensors", folder / "out.safetensors"],
                          capture_output=True, text=True, timeout=300, check=False)
    check(done.returncode == 0, done.stderr)
    return load_file(folder / "out.safetensors")


def our_name(name):
    return name.replace(".self_attn.dense.", ".self_attn.o_proj.").replace("language_model.final_layernorm", "language_model.norm")


def worst(a, b):
    return float((a - b).detach().abs().max() / b.abs().max().clamp_min(1e-12))


def compare(name, found, model, ids, pixels, cached=True):
    """Everything model_for_parity computed against transformers, as the largest relative difference."""
    output = model(input_ids=ids, pixel_values=pixels, output_hidden_states=True)
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
        blind = model(input_ids=ids, pixel_values=torch.zeros_like(pixels)).logits[0]
    check(worst(blind, output.logits[0]) > 1e-2, f"{name}: the picture changes nothing, so the test shows nothing")
    if cached:
        differences["cached"] = worst(found["cached_logits"], output.logits[0].detach())
        with torch.no_grad():
            answer = model.generate(input_ids=ids, pixel_values=pixels, attention_mask=torch.ones_like(ids), do_sample=False,
                                    max_new_tokens=GREEDY, min_new_tokens=GREEDY, bad_words_ids=[[IMAGE]], pad_token_id=0)
        theirs, mine = answer[0, ids.shape[1]:].tolist(), found["greedy"].tolist()
        check(theirs == mine, f"{name}: greedy tokens differ:\n{theirs}\n{mine}")
    bad = {key: value for key, value in differences.items() if not value < LIMIT}
    check(not bad, f"{name}: {bad}")
    print(f"{name}: {len(differences)} comparisons, the worst differs by {max(differences.values()):.1e}", flush=True)


def check_family(folder, name):
    vision, language, more, exported = FAMILIES[name]
    model = random_model(copy.deepcopy(vision), copy.deepcopy(language), more)
    model.save_pretrained(folder / "hf")
    write_processor(folder / "hf", vision)
    run("mose-model", "import", "--from", folder / "hf", "--out", folder / "ours")
    ids, pixels = random_input(patches_of(model))
    compare(name, ours(folder, folder / "ours", ids, pixels), model, ids, pixels)
    if exported:
        check_export(name, folder, folder / "ours", model, ids, pixels)


def check_export(name, folder, model_dir, model, ids, pixels, logits=None):
    run("mose-model", "export", model_dir, "--format", "hf", "--out", folder / "back")
    again, report = LlavaForConditionalGeneration.from_pretrained(folder / "back", output_loading_info=True)
    problems = {key: value for key, value in report.items() if value and key != "error_msgs"}
    check(not problems, f"{name}: transformers says of the export: {problems}")
    with torch.no_grad():
        want = logits if logits is not None else model(input_ids=ids, pixel_values=pixels).logits[0]
        difference = worst(again.eval()(input_ids=ids, pixel_values=pixels).logits[0], want)
    check(difference < 1e-5, f"{name}: exported, logits differ by {difference:.1e}")


def check_sparse_export(folder):
    """Two dense checkpoints joined and made sparse with a linear skill router: opens as Qwen2-MoE."""
    for kv, tie in ((2, True), (4, False)):
        here = folder / f"kv{kv}"
        vision, language, _, _ = FAMILIES["llama_biases"]
        model = random_model(copy.deepcopy(vision), text(Qwen2Config, num_key_value_heads=kv, num_hidden_layers=5, tie_word_embeddings=tie), {})
        language = model.model.language_model
        head = {} if tie else {"lm_head.weight": model.lm_head.weight.detach()}
        decoder = {"model." + key: value.contiguous() for key, value in language.state_dict().items()} | head
        write_part(here / "language", decoder, language.config.to_dict())
        save_tower(here / "vision", model)
        join = ["mose-model", "init", "--vision", here / "vision", "--language", here / "language", "--set", "seed=3"]
        run(*join, "--out", here / "dense")
        run(*join, "--upcycle", "sparse", "--set", "moe.experts=4", "--set", 'moe.router="skill"', "--out", here / "sparse")
        ids, pixels = random_input(16)
        dense, sparse = (ours(here, here / kind, ids, pixels)["logits"] for kind in ("dense", "sparse"))
        check(worst(sparse, dense) < 1e-5, f"joined and upcycled, logits differ by {worst(sparse, dense):.1e}")
        # Experts that differ, so that the routing matters.
        weights = load_file(here / "sparse/model.safetensors")
        torch.manual_seed(2)
        weights = {key: value + 0.05 * torch.randn_like(value) if ".experts." in key else value for key, value in weights.items()}
        save_file(weights, here / "sparse/model.safetensors")
        found = ours(here, here / "sparse", ids, pixels)["logits"]
        check(worst(found, dense) > 1e-3, "the experts' changes do not show")
        check_export(f"skill-routed kv{kv}", here, here / "sparse", None, ids, pixels, logits=found)
        run("mose-model", "import", "--from", here / "back", "--out", here / "again")
        check(worst(ours(here, here / "again", ids, pixels)["logits"], found) < 1e-6, "imported again, logits differ")
        run("mose-model", "init", *join[2:], "--upcycle", "sparse", "--set", "moe.experts=4", "--out", here / "hierarchical")
        said = run("mose-model", "export", here / "hierarchical", "--out", here / "refused", code=2)
        check("hierarchical_skill" in said and not (here / "refused").exists(), f"hierarchical router: {said}")
        print(f"joined, upcycled, exported, imported (kv heads {kv}, tied {tie}): the same logits", flush=True)


def check_trained(folder):
    """What a user does: two checkpoints joined, trained on driving scenes by the recipe for Qwen2.5 (its steps cut
    short, its router linear), exported, opened in transformers."""
    vision, _, _, _ = FAMILIES["llama_biases"]
    model = random_model(copy.deepcopy(vision), text(Qwen2Config, tie_word_embeddings=True), {"tie_word_embeddings": True})
    language = model.model.language_model
    write_part(folder / "language", {"model." + key: value for key, value in language.state_dict().items()}, language.config.to_dict())
    save_tower(folder / "vision", model)
    run("mose-model", "init", "--vision", folder / "vision", "--language", folder / "language", "--chat-template", "chatml", "--out", folder / "joined")
    run("mose-data", "scenes", "--out", folder / "set", "--train", 6, "--val", 2, "--test", 1, "--seed", 3)
    sets = {"init_from": folder / "joined", "data.root": folder / "set", "moe.router": '"skill"', "data.loader.batch_samples": 4,
            "stages.projector.steps": 2, "stages.projector.accumulate": 2, "stages.router.steps": 20, "stages.router.cache_tokens": 2000,
            "stages.router.cache_batch": 256, "stages.router.loss.stage.value": 0, "stages.finetune.steps": 3,
            "stages.finetune.accumulate": 2, "stages.finetune.lr": 0.01}
    recipe = pathlib.Path(__file__).resolve().parents[2] / "configs/recipes/coda_qwen2_5_1_5b_x4.json"
    run("mose-train", "--config", recipe, *(f"--set={key}={value}" for key, value in sets.items()), "--run", folder / "run")
    ids, pixels = random_input(16)
    found = ours(folder, folder / "run/model", ids, pixels)["logits"]
    before = ours(folder, folder / "joined", ids, pixels)["logits"]
    check(worst(found, before) > 1e-3, "training changed nothing")
    check_export("trained", folder, folder / "run/model", None, ids, pixels, logits=found)
    print("joined, trained by skill, exported: the same logits in transformers", flush=True)


def check_joined_phi(folder):
    """Phi's own head has a bias, which LLaVA's has not there: the joined model keeps it, the export refuses."""
    vision, language, more, _ = FAMILIES["phi"]
    model = random_model(tower(CLIPVisionConfig), copy.deepcopy(language), {})
    model.lm_head = torch.nn.Linear(32, model.config.text_config.vocab_size)
    decoder = {"model." + key: value for key, value in model.model.language_model.state_dict().items()}
    write_part(folder / "language", decoder | {"lm_head." + k: v for k, v in model.lm_head.state_dict().items()},
               model.config.text_config.to_dict())
    save_tower(folder / "vision", model)
    run("mose-model", "init", "--vision", folder / "vision", "--language", folder / "language", "--out", folder / "ours")
    projector = "model.multi_modal_projector."
    drawn = {key.removeprefix(projector): value for key, value in load_file(folder / "ours/model.safetensors").items() if key.startswith(projector)}
    model.model.multi_modal_projector.load_state_dict(drawn)
    ids, pixels = random_input(16)
    compare("Phi joined with CLIP", ours(folder, folder / "ours", ids, pixels), model, ids, pixels)
    said = run("mose-model", "export", folder / "ours", "--out", folder / "refused", code=2)
    check("bias" in said, said)


def write_part(folder, tensors, config):
    folder.mkdir(parents=True)
    save_file({key: value.detach().clone() for key, value in tensors.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))
    write_processor(folder, FAMILIES["llama_biases"][0])


def save_tower(folder, model):
    """The tower as a checkpoint of its own, with a class that transformers has."""
    alone = CLIPVisionModel(model.config.vision_config)
    state = {key: value for key, value in model.model.vision_tower.state_dict().items()}
    alone.load_state_dict(state)
    alone.save_pretrained(folder)
    write_processor(folder, model.config.vision_config)


def original(key, value, decoder="model.", qwen=False):
    """A tensor of LlavaForConditionalGeneration under LLaVA's own names; None for the tower."""
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
    vision, _, _, _ = FAMILIES["llama_biases"]
    model = random_model(copy.deepcopy(vision), text(LlamaConfig, rope_theta=10000.0), {})
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
    vision, _, _, _ = FAMILIES["llama_biases"]
    model = random_model(copy.deepcopy(vision), text(Qwen2Config, num_key_value_heads=4, rope_theta=10000.0), {})
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
        vision, _, _, _ = FAMILIES["llama_biases"]
        more = {"use_qkv_bias": True} if family == "stablelm" else {}
        model = random_model(copy.deepcopy(vision), text(kind, hidden_size=32, rope_parameters=PARTIAL, **more), {})
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


def main():
    torch.set_num_threads(1)
    chosen = sys.argv[1:]
    with tempfile.TemporaryDirectory(prefix="mose_models_") as name:
        folder = pathlib.Path(name)
        for family in FAMILIES:
            if not chosen or family in chosen:
                (folder / family).mkdir()
                check_family(folder / family, family)
        for test in (check_sparse_export, check_trained, check_joined_phi, check_original_llava, check_qwen, check_moe_llava):
            if not chosen or test.__name__ in chosen:
                (folder / test.__name__).mkdir()
                test(folder / test.__name__)
    print("models: passed")


if __name__ == "__main__":
    main()
