"""For a GPU (a CPU in rehearsals): PyTorch's limits, transformers' Mixtral block."""

import copy
import time

import moe
import torch
from safetensors.torch import load_file, save_file
from transformers.integrations import moe as integration

PACKAGES = ["transformers", "torch"]
state = {}


def device(device):
    state["device"] = device
    return {"name": torch.cuda.get_device_name() if device == "cuda" else "the CPU (rehearsal)"}


def wait():
    if state["device"] == "cuda":
        torch.cuda.synchronize()


def timed(work):
    wait()
    began = time.perf_counter()
    work()
    wait()
    return time.perf_counter() - began


def prepare_limit(work, side, bytes):
    if work == "gemm":
        a, b = (torch.randn(side, side, dtype=torch.bfloat16, device=state["device"]) for _ in range(2))
        out = torch.empty_like(a)
        state["limit"] = lambda: torch.mm(a, b, out=out)
    else:
        source = torch.ones(bytes // 4, device=state["device"])
        target = torch.empty_like(source)
        state["limit"] = source.sum if work == "read" else lambda: target.copy_(source)
    return {}


def limit():
    return {"seconds": timed(state["limit"])}


def prepare_block(sizes, weights):
    weights = load_file(weights, device=state["device"])

    def block(experts):
        return moe.make_block(sizes, weights, experts).to(state["device"], torch.bfloat16)

    state["blocks"] = {experts: block(experts) for experts in ("eager", "grouped_mm", "batched_mm")}
    # The grouped form without its matrix products: routing, sorting, gathering, weighting, adding up.
    state["blocks"]["chain"] = block("grouped_mm")
    state["blocks"]["chain"].experts._apply_gate = lambda rows: rows
    return {}


def load_input(file):
    tensors = load_file(file, device=state["device"])
    state["x"], state["gradient"] = tensors["x"][None].requires_grad_(), tensors["gradient"][None]
    return {}


def reference(out):
    """Output and gradients in float64, by the loop over experts."""
    block = copy.deepcopy(state["blocks"]["eager"]).double()
    x = state["x"].detach().double().requires_grad_()
    y = block(x)
    y.backward(state["gradient"].double())
    found = {name: value.grad for name, value in block.named_parameters()} | {"y": y.detach()[0], "x": x.grad[0]}
    save_file({name: value.float().cpu().contiguous() for name, value in found.items()}, out)
    return {}


def train(block):
    module, x = state["blocks"][block], state["x"]
    matrix_product = integration._grouped_linear
    if block == "chain":
        integration._grouped_linear = lambda rows, *_, **__: rows
    try:
        seconds = timed(lambda: module(x).backward(state["gradient"]))
    finally:
        integration._grouped_linear = matrix_product
    x.grad = None
    module.zero_grad(set_to_none=True)
    return {"seconds": seconds}


def forward(block, calls):
    module, x = state["blocks"][block], state["x"].detach()
    with torch.no_grad():
        return {"seconds": timed(lambda: [module(x) for _ in range(calls)])}
