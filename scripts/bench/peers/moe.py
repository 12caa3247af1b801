"""transformers' Mixtral block: the same mathematics as our layer with router topk."""

import copy
import time

import torch
from safetensors.torch import load_file, save_file
from transformers import MixtralConfig
from transformers.integrations import moe as integration
from transformers.models.mixtral.modeling_mixtral import MixtralSparseMoeBlock

PACKAGES = ["transformers", "torch"]
state = {}


def make_block(sizes, weights, experts):
    config = MixtralConfig(hidden_size=sizes["width"], intermediate_size=sizes["intermediate"], num_local_experts=sizes["experts"],
                           num_experts_per_tok=sizes["top_k"])
    config._experts_implementation = experts
    block = MixtralSparseMoeBlock(config)
    block.load_state_dict(weights)
    return block


def setup(threads, sizes, weights):
    torch.set_num_threads(threads)
    weights = load_file(weights)
    state["blocks"] = {experts: make_block(sizes, weights, experts) for experts in ("eager", "grouped_mm", "batched_mm")}
    # The grouped form without its matrix products: routing, sorting, gathering, weighting, adding up.
    state["blocks"]["chain"] = make_block(sizes, weights, "grouped_mm")
    state["blocks"]["chain"].experts._apply_gate = lambda rows: rows
    return {}


def load_input(file):
    tensors = load_file(file)
    state["x"], state["gradient"] = tensors["x"][None].requires_grad_(), tensors["gradient"][None]
    return {}


def reference(out):
    """Output and gradients in float64, by the loop over experts."""
    block = copy.deepcopy(state["blocks"]["eager"]).double()
    x = state["x"].detach().double().requires_grad_()
    y = block(x)
    y.backward(state["gradient"].double())
    found = {name: value.grad for name, value in block.named_parameters()} | {"y": y.detach()[0], "x": x.grad[0]}
    save_file({name: value.float().contiguous() for name, value in found.items()}, out)
    return {}


def train(block, calls=1):
    module, x = state["blocks"][block], state["x"]
    matrix_product = integration._grouped_linear
    if block == "chain":
        integration._grouped_linear = lambda rows, *_, **__: rows
    seconds = 0
    try:
        for _ in range(calls):
            began = time.perf_counter()
            module(x).backward(state["gradient"])
            seconds += time.perf_counter() - began
            x.grad = None
            module.zero_grad(set_to_none=True)
    finally:
        integration._grouped_linear = matrix_product
    return {"seconds": seconds / calls}


def forward(block, calls):
    module, x = state["blocks"][block], state["x"].detach()
    with torch.no_grad():
        began = time.perf_counter()
        for _ in range(calls):
            module(x)
        return {"seconds": time.perf_counter() - began}
