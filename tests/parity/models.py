"""Every family of decoders and towers against transformers, from small checkpoints with random weights:
logits, the states between all layers, gradients of one step, 64 greedy tokens, decoding out of a cache; and
back: what is exported opens in transformers and computes the same."""

import copy
import pathlib
import sys

import torch
from safetensors.torch import load_file, save_file
from transformers import (CLIPVisionConfig, LlamaConfig, MistralConfig, MixtralConfig, PhiConfig, Qwen2Config, Qwen2MoeConfig,
                          SiglipVisionConfig, StableLmConfig)

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from small_models import (PARTIAL, check, check_export, compare, ours, patches_of, random_input, random_model, run,  # noqa: E402
                          run_checks, save_tower, text, tower, train_joined, worst, write_part, write_processor)

LLAMA3 = {"rope_type": "llama3", "rope_theta": 5000.0, "factor": 4.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
          "original_max_position_embeddings": 32}
FULL = {"vision_feature_select_strategy": "full"}
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
    """Joined, trained by the recipe for Qwen2.5, exported, opened in transformers."""
    train_joined(folder, copy.deepcopy(FAMILIES["llama_biases"][0]), "coda_qwen2_5_1_5b_x4.json",
                 **{"stages.finetune.steps": 3, "stages.finetune.lr": 0.01})
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


if __name__ == "__main__":
    run_checks("models", [*((family, lambda folder, family=family: check_family(folder, family)) for family in FAMILIES),
                          *((check_.__name__, check_) for check_ in (check_sparse_export, check_trained, check_joined_phi))])
