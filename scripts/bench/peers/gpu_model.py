"""For a GPU (a CPU in rehearsals): transformers' nearest decoder to GPU shape R, its training step, its generate."""

import copy
import time

import torch
from gpu_layer import device, state, timed  # noqa: F401 (device is called from outside)
from model import make_settings
from safetensors.torch import load_file
from transformers import LogitsProcessor, LogitsProcessorList, Qwen2MoeForCausalLM

PACKAGES = ["transformers", "torch"]


def build(parameters, config, rope_theta, experts, deviation, seed, device):
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        model = Qwen2MoeForCausalLM(make_settings(config, rope_theta, experts))
    torch.set_default_dtype(torch.float32)
    known = dict(model.named_parameters())
    left = {name for name in known if "shared_expert" not in name} - set(parameters)
    assert not left and set(parameters) <= set(known), f"parameters missing {left}, unknown {set(parameters) - set(known)}"
    with torch.no_grad():
        for i, name in enumerate(parameters):
            torch.manual_seed(seed + i)
            value = known[name]
            if value.dim() >= 2:
                value.normal_(0, deviation)
            else:
                value.fill_(0.0 if name.endswith("bias") else 1.0)
    for name, value in known.items():
        value.requires_grad_("shared_expert" not in name)
    state["model"] = model
    return {}


def exact_model():
    """A copy in float64 with the plain loop over experts."""
    model = copy.deepcopy(state["model"]).double().eval()
    model.set_experts_implementation("eager")
    return model


def load_batch(batch, learning_rate, clip):
    tensors = load_file(batch, device=state["device"])
    model = state["model"].train()
    decayed = [p for p in model.parameters() if p.requires_grad and p.dim() >= 2]
    plain = [p for p in model.parameters() if p.requires_grad and p.dim() < 2]
    state["optimizer"] = torch.optim.AdamW([{"params": decayed, "weight_decay": 0.01}, {"params": plain, "weight_decay": 0.0}],
                                           lr=learning_rate, betas=(0.9, 0.95), eps=1e-8, fused=True)
    state.update(batch={"input_ids": tensors["tokens"], "labels": tensors["labels"], "use_cache": False}, clip=clip)
    return {}


def loss():
    with torch.no_grad():
        return {"loss": state["model"](**state["batch"]).loss.item()}


def reference_loss():
    exact = exact_model()
    with torch.no_grad():
        value = exact(**state["batch"]).loss.item()
    del exact
    release()
    return {"loss": value}


def release():
    if state["device"] == "cuda":
        torch.cuda.empty_cache()


def step(experts):
    model, optimizer = state["model"], state["optimizer"]
    model.set_experts_implementation(experts)
    on_gpu, before = state["device"] == "cuda", 0
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()

    def work():
        model(**state["batch"]).loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), state["clip"])
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)

    seconds = timed(work)
    return {"seconds": seconds, "memory": torch.cuda.max_memory_allocated() - before if on_gpu else 0}


def generate(prompt, new_tokens, experts, compiled):
    model = state["model"].eval()
    model.set_experts_implementation(experts)
    ids = torch.tensor([prompt], device=state["device"])
    more = {"cache_implementation": "static"} if compiled else {}
    found = []

    def work():
        found[:] = model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=new_tokens,
                                  min_new_tokens=new_tokens, pad_token_id=0, **more)[0, len(prompt):].tolist()

    with torch.no_grad():
        seconds = timed(work)
    return {"seconds": seconds, "tokens": list(found)}


def count_behind(exact, embeddings, answers, share):
    """How many of the chosen tokens have a logit in float64 that is more than this share of the largest behind the best."""
    count = 0
    for rows, answer in zip(embeddings, answers, strict=True):
        chosen = torch.tensor(answer, device=state["device"])
        written = exact.get_input_embeddings()(chosen[:-1])
        with torch.no_grad():
            logits = exact(inputs_embeds=torch.cat([rows.double(), written])[None], use_cache=False).logits[0, len(rows) - 1:]
        own = logits.gather(1, chosen[:, None])[:, 0]
        count += int((logits.amax(1) - own > share * logits.abs().amax(1)).sum())
    return count


def behind(prompt, answer, share):
    exact = exact_model()
    rows = exact.get_input_embeddings()(torch.tensor(prompt, device=state["device"])).detach()
    count = count_behind(exact, [rows], [answer], share)
    del exact
    release()
    return {"tokens": count}


def load_questions(images, image_token, end, prompts):
    """Every prompt as rows, its picture's in place of the image tokens."""
    pictures = load_file(images, device=state["device"])["images"]
    embed = state["model"].get_input_embeddings()
    rows = []
    for prompt in prompts:
        tokens = torch.tensor(prompt["tokens"], device=state["device"])
        part = embed(tokens.masked_fill(tokens == image_token, 0)).detach()
        part[tokens == image_token] = pictures[prompt["picture"]]
        rows.append(part)
    state.update(rows=rows, answers=[prompt["answer"] for prompt in prompts], end=end)
    return {}


class Given(LogitsProcessor):
    """Makes a batch write given answers, and then the end."""

    def __init__(self, answers, end):
        self.table = torch.full((len(answers), max(map(len, answers)) + 1), end)
        for n, answer in enumerate(answers):
            self.table[n, :len(answer)] = torch.tensor(answer)
        self.table, self.step = self.table.to(state["device"]), 0

    def __call__(self, input_ids, scores):
        forced = torch.full_like(scores, float("-inf")).scatter_(1, self.table[:, self.step:self.step + 1], 0.0)
        self.step += 1
        return forced


def answer(new_tokens=0):
    """The given answers; with new_tokens what the model chooses, as many."""
    model, rows, end = state["model"].eval(), state["rows"], state["end"]
    longest, found = max(map(len, rows)), []

    def work():
        padded = rows[0].new_zeros(len(rows), longest, rows[0].shape[1])
        mask = torch.zeros(len(rows), longest, dtype=torch.long, device=state["device"])
        for n, part in enumerate(rows):
            padded[n, longest - len(part):] = part
            mask[n, longest - len(part):] = 1
        if new_tokens:
            more = {"max_new_tokens": new_tokens, "min_new_tokens": new_tokens}
        else:
            given = Given(state["answers"], end)
            more = {"max_new_tokens": given.table.shape[1], "logits_processor": LogitsProcessorList([given]), "eos_token_id": end}
        found[:] = model.generate(inputs_embeds=padded, attention_mask=mask, do_sample=False, pad_token_id=0, **more).tolist()

    with torch.no_grad():
        seconds = timed(work)
    if not new_tokens:
        found = [one[:one.index(end)] for one in found]
    return {"seconds": seconds, "answers": found}


def questions_behind(answers, share):
    exact = exact_model()
    count = count_behind(exact, state["rows"], answers, share)
    del exact
    release()
    return {"tokens": count}
