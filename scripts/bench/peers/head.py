"""transformers' head and loss, on a CPU or a GPU: time and memory."""

import pathlib

import torch
from gpu_layer import PACKAGES, device, state, timed  # noqa: F401 (called by name)
from safetensors.torch import load_file, save_file
from transformers.loss.loss_utils import ForCausalLMLoss


def head_loss(hidden, weight, targets):
    logits = torch.nn.functional.linear(hidden, weight)[None]
    return ForCausalLMLoss(logits, None, vocab_size=weight.shape[0], shift_labels=targets[None])


def prepare(file, out):
    """The loss and its gradients in float64, a slice of rows at a time."""
    tensors = load_file(file, device=state["device"])
    hidden, weight, targets = tensors["hidden"], tensors["weight"], tensors["targets"]
    state["head"] = [hidden.requires_grad_(), weight.requires_grad_(), targets]
    exact = weight.detach().double().requires_grad_()
    rows, losses, gradients = 1024, [], []
    for begin in range(0, len(hidden), rows):
        part = hidden[begin:begin + rows].detach().double().requires_grad_()
        loss = torch.nn.functional.cross_entropy(part @ exact.T, targets[begin:begin + rows], reduction="sum") / len(hidden)
        loss.backward()
        losses.append(loss.item())
        gradients.append(part.grad.float())
    save_file({"hidden": torch.cat(gradients).cpu(), "weight": exact.grad.float().cpu()}, out)
    return {"loss": sum(losses)}


def peak_resident():
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            return int(line.split()[1]) << 10


def head():
    """`memory` is what the step takes beside what is there: of the GPU's tensors, or of the process."""
    hidden, weight, targets = state["head"]
    hidden.grad = weight.grad = None
    on_gpu = state["device"] == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
    else:
        pathlib.Path("/proc/self/clear_refs").write_text("5")
        before = peak_resident()
    seconds = timed(lambda: head_loss(hidden, weight, targets).backward())
    return {"seconds": seconds, "memory": (torch.cuda.max_memory_allocated() if on_gpu else peak_resident()) - before}
