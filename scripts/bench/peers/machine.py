"""The works of src/bench/machine.cpp in PyTorch."""

import time

import torch

PACKAGES = ["torch"]
state = {}


def setup(threads, copy_bytes, side):
    torch.set_num_threads(threads)
    source, a, b = torch.rand(copy_bytes // 4), torch.rand(side, side), torch.rand(side, side)
    target, out = torch.empty_like(source), torch.empty_like(a)
    state.update(copy=lambda: target.copy_(source), read=source.sum, gemm=lambda: torch.mm(a, b, out=out))
    return {}


def run(work):
    began = time.perf_counter()
    state[work]()
    return {"seconds": time.perf_counter() - began}
