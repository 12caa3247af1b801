"""transformers' LLaVA with a Qwen2-MoE decoder: answers about pictures in padded batches, and how soon a model's first token comes
when its files are opened. The export writes a shared expert of zeros, 64 wide, which ours does not have."""

import gc
import time

import torch
from safetensors.torch import load_file
from transformers import LlavaForConditionalGeneration, LogitsProcessor, LogitsProcessorList

PACKAGES = ["transformers", "torch"]
state = {}


def open_model(folder):
    model = LlavaForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, attn_implementation="sdpa").eval()
    model.config.text_config._experts_implementation = "eager"
    model.generation_config.eos_token_id = model.generation_config.bos_token_id = None
    return model


def load(folder, threads):
    torch.set_num_threads(threads)
    state["model"] = open_model(folder)
    return {}


def first_token(folder, prompt, threads):
    torch.set_num_threads(threads)
    gc.collect()
    ids = torch.tensor([prompt])
    began = time.perf_counter()
    model = open_model(folder)
    with torch.no_grad():
        answer = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=1, pad_token_id=0,
                                bad_words_ids=[[model.config.image_token_index]])
    return {"seconds": time.perf_counter() - began, "token": answer[0, -1].item()}


def ask(pictures, questions):
    state.update(pixels=load_file(pictures)["pixels"], questions=questions)
    return {}


class Given(LogitsProcessor):
    """Lets every sequence write its given answer and then the end token."""

    def __init__(self, answers, begin, end):
        longest = max(map(len, answers))
        self.begin = begin
        self.tokens = torch.tensor([answer + [end] * (longest + 1 - len(answer)) for answer in answers])

    def __call__(self, ids, scores):
        out = torch.full_like(scores, -torch.inf)
        return out.scatter_(1, self.tokens[:, ids.shape[1] - self.begin, None], 0.0)


def generate(questions, **more):
    """Padded on the left, the picture once a question."""
    width = max(len(q["tokens"]) for q in questions)
    ids = torch.tensor([[0] * (width - len(q["tokens"])) + q["tokens"] for q in questions])
    mask = torch.tensor([[0] * (width - len(q["tokens"])) + [1] * len(q["tokens"]) for q in questions])
    pixels = state["pixels"][[q["picture"] for q in questions]]
    with torch.no_grad():
        return state["model"].generate(input_ids=ids, attention_mask=mask, pixel_values=pixels, do_sample=False, pad_token_id=0, **more)[:, width:]


def words(tokens, every):
    """The first tokens that the model chooses itself, of every so manyth question."""
    image = state["model"].config.image_token_index
    said = [generate([q], max_new_tokens=tokens, min_new_tokens=tokens, bad_words_ids=[[image]])[0].tolist() for q in state["questions"][::every]]
    return {"tokens": said}


def answer(batch):
    end = state["model"].config.text_config.vocab_size - 1
    seconds = 0
    for first in range(0, len(state["questions"]), batch):
        questions = state["questions"][first:first + batch]
        answers = [q["answer"] for q in questions]
        assert all(end not in one for one in answers)
        width = max(len(q["tokens"]) for q in questions)
        began = time.perf_counter()
        said = generate(questions, max_new_tokens=max(map(len, answers)) + 1, eos_token_id=end,
                        logits_processor=LogitsProcessorList([Given(answers, width, end)]))
        seconds += time.perf_counter() - began
        for one, wanted in zip(said.tolist(), answers):
            assert one[:len(wanted) + 1] == wanted + [end], f"it wrote {one}, the answer is {wanted}"
    return {"seconds": seconds}
