"""transformers' nearest decoder to shape r: Qwen2-MoE with every second layer sparse. Its shared expert, which
ours does not have, is 0 wide, so that it computes nothing."""

import copy
import pathlib
import time

import torch
from safetensors.torch import load_file
from transformers import Qwen2MoeConfig, Qwen2MoeForCausalLM

PACKAGES = ["transformers", "torch"]
state = {}


def peak_memory():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10


def make_settings(config, rope_theta, experts):
    settings = Qwen2MoeConfig(**config, rope_parameters={"rope_type": "default", "rope_theta": rope_theta}, decoder_sparse_step=2,
                              norm_topk_prob=True, qkv_bias=False, shared_expert_intermediate_size=0, bos_token_id=None,
                              eos_token_id=None, pad_token_id=None)
    settings._attn_implementation, settings._experts_implementation = "sdpa", experts
    return settings


def build(weights, config, rope_theta, experts, threads, type="float32"):
    torch.set_num_threads(threads)
    settings = make_settings(config, rope_theta, experts)
    model = Qwen2MoeForCausalLM(settings)
    report = model.load_state_dict(load_file(weights), strict=False)
    left = {name for name in report.missing_keys if "shared_expert" not in name and name != "lm_head.weight"}
    assert not left and not report.unexpected_keys, f"weights missing {left}, unknown {report.unexpected_keys}"
    for name, value in model.named_parameters():
        if "shared_expert" in name:
            value.requires_grad_(False)
    state["model"] = model.to(getattr(torch, type))
    return {"memory": peak_memory()}


def load_batch(batch, learning_rate, clip):
    """The mean loss of the first step, in float64 with the plain loop over experts, is the reference."""
    tensors = load_file(batch)
    model = state["model"].train()
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    state["optimizer"] = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                                           lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)
    state.update(tokens=tensors["tokens"], labels=tensors["labels"], clip=clip)
    return {}


def reference_loss():
    exact = copy.deepcopy(state["model"]).double()
    exact.config._experts_implementation = "eager"
    with torch.no_grad():
        return {"loss": exact(input_ids=state["tokens"], labels=state["labels"], use_cache=False).loss.item()}


def step():
    model, optimizer = state["model"], state["optimizer"]
    began = time.perf_counter()
    loss = model(input_ids=state["tokens"], labels=state["labels"], use_cache=False).loss
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), state["clip"])
    optimizer.step()
    optimizer.zero_grad(set_to_none=True)
    value = loss.item()
    return {"seconds": time.perf_counter() - began, "loss": value, "memory": peak_memory()}


def generate(prompt, new_tokens):
    model = state["model"].eval()
    ids = torch.tensor([prompt])
    began = time.perf_counter()
    with torch.no_grad():
        answer = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens,
                                min_new_tokens=new_tokens, pad_token_id=0)
    seconds = time.perf_counter() - began
    return {"seconds": seconds, "tokens": answer[0, len(prompt):].tolist()}


def behind(prompt, answer, share):
    """How many of the chosen tokens have a logit in float64 that is more than this share of the largest behind the best."""
    exact = copy.deepcopy(state["model"]).double().eval()
    exact.config._experts_implementation = "eager"
    ids = torch.tensor([prompt + answer])
    with torch.no_grad():
        logits = exact(input_ids=ids, use_cache=False).logits[0, len(prompt) - 1:-1]
    chosen = logits.gather(1, torch.tensor(answer)[:, None])[:, 0]
    return {"tokens": int((logits.amax(1) - chosen > share * logits.abs().amax(1)).sum())}
