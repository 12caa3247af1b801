"""llama.cpp, through its Python bindings, built from source for this CPU. Its nearest decoder to shape r is ERNIE 4.5's, without
shared experts: a few dense layers, then sparse ones that normalise the probabilities of the chosen experts."""

import ctypes
import re
import time

import gguf
import llama_cpp
import numpy as np
import torch
from safetensors.torch import load_file

PACKAGES = ["llama-cpp-python"]
ROWS = 1024  # that the cache has room for
state = {}


def rotate_pairs(weight, heads):
    """Rows of a head for a rotary embedding of neighbours; ours turns the two halves of a head."""
    return weight.reshape(heads, 2, weight.shape[0] // heads // 2, -1).swapaxes(1, 2).reshape(weight.shape)


def renamed(tensors, heads, kv_heads):
    """The tensors by llama.cpp's names."""
    plain = {"self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "input_layernorm": "attn_norm",
             "post_attention_layernorm": "ffn_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
             "mlp.gate": "ffn_gate_inp"}
    for name, value in tensors.items():
        layer = re.fullmatch(r"model\.layers\.(\d+)\.(.+?)(?:\.weight)?", name)
        if not layer:
            yield {"model.embed_tokens.weight": "token_embd", "model.norm.weight": "output_norm"}[name], value
            continue
        block, part = f"blk.{layer[1]}.", layer[2]
        if part == "mlp.experts.gate_up_proj":
            gate, up = value.chunk(2, dim=1)
            yield block + "ffn_gate_exps", gate
            yield block + "ffn_up_exps", up
        elif part == "mlp.experts.down_proj":
            yield block + "ffn_down_exps", value
        elif part == "self_attn.q_proj":
            yield block + "attn_q", rotate_pairs(value, heads)
        elif part == "self_attn.k_proj":
            yield block + "attn_k", rotate_pairs(value, kv_heads)
        else:
            yield block + plain[part], value


def write_gguf(file, tensors, int8, layers, width, intermediate, heads, kv_heads, experts, top_k, first_sparse, positions, norm_eps, rope_theta,
               vocabulary):
    writer = gguf.GGUFWriter(file, "ernie4_5-moe")
    writer.add_block_count(layers)
    writer.add_context_length(positions)
    writer.add_embedding_length(width)
    writer.add_feed_forward_length(intermediate)
    writer.add_expert_feed_forward_length(intermediate)
    writer.add_head_count(heads)
    writer.add_head_count_kv(kv_heads)
    writer.add_expert_count(experts)
    writer.add_expert_used_count(top_k)
    writer.add_interleave_moe_layer_step(1)
    writer.add_leading_dense_block_count(first_sparse)
    writer.add_layer_norm_rms_eps(norm_eps)
    writer.add_rope_freq_base(rope_theta)
    writer.add_tokenizer_model("none")
    writer.add_vocab_size(vocabulary)
    for name, value in renamed(tensors, heads, kv_heads):
        value = value.contiguous()
        matrix = value.dim() > 1 and not name.endswith("ffn_gate_inp")
        if int8 and matrix:
            packed = gguf.quants.quantize(value.float().numpy(), gguf.GGMLQuantizationType.Q8_0)
            writer.add_tensor(name + ".weight", packed, raw_dtype=gguf.GGMLQuantizationType.Q8_0)
        elif value.dtype == torch.bfloat16 and matrix:
            writer.add_tensor(name + ".weight", value.view(torch.uint8).numpy(), raw_dtype=gguf.GGMLQuantizationType.BF16)
        else:
            writer.add_tensor(name + ".weight", value.float().numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@llama_cpp.llama_log_callback
def quiet(level, text, _):
    if level >= 4:  # an error
        print(text.decode(errors="replace"), end="")


def build(weights, file, threads, int8, **sizes):
    """With `int8` matrices are rounded to llama.cpp's Q8_0: blocks of 32 numbers with a scale each."""
    tensors = load_file(weights)
    in_float32 = all(value.dtype == torch.float32 for value in tensors.values())
    write_gguf(file, tensors, int8, **sizes)
    llama_cpp.llama_log_set(quiet, ctypes.c_void_p(0))
    llama_cpp.llama_backend_init()
    model = llama_cpp.llama_model_load_from_file(file.encode(), llama_cpp.llama_model_default_params())
    assert model, f"llama.cpp cannot load {file}"
    settings = llama_cpp.llama_context_default_params()
    settings.n_ctx, settings.n_threads, settings.n_threads_batch = ROWS, threads, threads
    if in_float32:  # the cache too, so that the tokens can be compared
        settings.type_k = settings.type_v = llama_cpp.GGML_TYPE_F32
    state["context"] = llama_cpp.llama_init_from_model(model, settings)
    assert state["context"], "llama.cpp cannot make a context"
    state["vocabulary"] = sizes["vocabulary"]
    return {}


def next_token(tokens):
    array = (llama_cpp.llama_token * len(tokens))(*tokens)
    code = llama_cpp.llama_decode(state["context"], llama_cpp.llama_batch_get_one(array, len(tokens)))
    assert code == 0, f"llama_decode: {code}"
    logits = llama_cpp.llama_get_logits_ith(state["context"], -1)
    return int(np.ctypeslib.as_array(logits, (state["vocabulary"],)).argmax())


def generate(prompt, new_tokens):
    began = time.perf_counter()
    llama_cpp.llama_memory_clear(llama_cpp.llama_get_memory(state["context"]), True)
    answer = [next_token(prompt)]
    while len(answer) < new_tokens:
        answer.append(next_token(answer[-1:]))
    return {"seconds": time.perf_counter() - began, "tokens": answer}
