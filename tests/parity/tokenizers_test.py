"""Ids and text of mose's tokenizers against Hugging Face tokenizers, over generated strings.

usage: tokenizers_test.py TOKENIZE_PROGRAM [--strings N] [--families a,b] [--seed S]

Vocabularies are made here: Qwen's real one comes from the dashscope wheel, the others are trained on
text drawn from it. Every family is compared as tokenizer.json and in the form it is published in
(vocab.json + merges.txt, .tiktoken, SentencePiece tokenizer.model), both ways: ids with and without
special tokens, decoded text with and without special tokens, and the streamed text.
"""
import argparse
import base64
import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile
import time

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers

QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*"
        r"|\s*[\r\n]+|\s+(?!\S)|\s+")
LLAMA3 = QWEN.replace(r"\p{N}|", r"\p{N}{1,3}|", 1)
MARK = "\u2581"


def byte_chars():
    """GPT-2's visible character for each byte."""
    visible = [b for b in range(256) if 33 <= b <= 126 or 161 <= b <= 172 or b >= 174]
    chars = {b: chr(b) for b in visible}
    for b in range(256):
        chars.setdefault(b, chr(256 + len(chars) - len(visible)))
    return chars


BYTE_CHARS = byte_chars()


def spelled(token):
    return "".join(BYTE_CHARS[b] for b in token)


def qwen_ranks():
    spec = importlib.util.find_spec("dashscope")
    if spec is None:
        sys.exit("tokenizers_test: the package dashscope is missing; scripts/setup.sh installs it")
    path = pathlib.Path(spec.origin).parent / "resources" / "qwen.tiktoken"
    ranks = {}
    for line in path.read_bytes().splitlines():
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    return path, ranks


# ---- generated strings -----------------------------------------------------------------------------

class Strings:
    """Random text: all of Unicode, single blocks, words of many languages, spaces, digits, marks."""

    SPACES = [" ", "  ", "    ", "\n", "\n\n", "\t", "\r\n", " \n", "\u00a0", "\u3000", "\u2003", "\u0085", "\u180e",
              "\u200b", "\u2028", "\x0b", "\x1c", "\x00"]
    MARKS = ["\u0301", "\u0316", "\u0323", "\u0308", "\u0327", "\u3099", "\u1161", "\u11a8", "\u0334", "\u093c",
             "\u0bbe", "\u102e", "\u200d", "\ufe0f", "\u20e3", "\u0345", "\u05b0", "\u064b"]
    ENDS = ["'s", "'S", "'LL", "'t", "'\u017f", "'Re", "\u2019s", "'", "''ve", "'d "]

    def __init__(self, seed, words):
        self.random = random.Random(seed)
        self.words = words

    def point(self, low=0, high=0x10FFFF):
        while True:
            c = self.random.randint(low, high)
            if not 0xD800 <= c < 0xE000:
                return chr(c)

    def part(self, extra):
        r = self.random
        kind = r.randrange(12)
        if kind < 2:
            return r.choice(self.words)
        if kind == 2:
            return " " + r.choice(self.words)
        if kind == 3:
            return "".join(self.point() for _ in range(r.randint(1, 4)))
        if kind == 4:
            start = ord(self.point(0, 0x33FFF))
            start = start if not 0xD700 <= start < 0xE000 else 0xE000
            return "".join(self.point(start, start + 127) for _ in range(r.randint(1, 8)))
        if kind == 5:
            return "".join(chr(r.randint(32, 126)) for _ in range(r.randint(1, 8)))
        if kind == 6:
            return r.choice(self.SPACES) * r.randint(1, 3)
        if kind == 7:
            return "".join(r.choice("0123456789\u0663\u0967\u00bd\u2167") for _ in range(r.randint(1, 7)))
        if kind == 8:
            return self.point(0x41, 0x2FFF) + "".join(r.choice(self.MARKS) for _ in range(r.randint(1, 3)))
        if kind == 9:
            return r.choice(self.ENDS)
        if kind == 10:
            return r.choice(extra) if extra else "<"
        return self.point(0, 0x2FFFF) * r.randint(1, 60 if r.random() < 0.05 else 3)

    def text(self, extra):
        return "".join(self.part(extra) for _ in range(self.random.randint(0, 12)))


# ---- the families ----------------------------------------------------------------------------------

def save(tokenizer, root, name, config=None):
    folder = root / name
    folder.mkdir()
    tokenizer.save(str(folder / "tokenizer.json"))
    if config:
        (folder / "tokenizer_config.json").write_text(json.dumps(config))
    return folder


def special(token):
    return AddedToken(token, normalized=False, special=True)


def train_byte_level(corpus, size, pre_tokenizer, normalizer=None):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizer
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    trainer = trainers.BpeTrainer(vocab_size=size, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
                                  show_progress=False)
    tokenizer.train_from_iterator(corpus, trainer)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def split_by(pattern):
    return pre_tokenizers.Sequence([pre_tokenizers.Split(Regex(pattern), "isolated", invert=False),
                                    pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])


def gpt2(root, corpus):
    tokenizer = train_byte_level(corpus, 8000, pre_tokenizers.ByteLevel(add_prefix_space=False))
    pair = root / "gpt2-pair"
    pair.mkdir()
    tokenizer.model.save(str(pair))
    end = tokenizer.get_vocab_size()
    (pair / "added_tokens.json").write_text(json.dumps({"<|endoftext|>": end}))
    (pair / "tokenizer_config.json").write_text(json.dumps({"eos_token": "<|endoftext|>"}))
    tokenizer.add_special_tokens([special("<|endoftext|>")])
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    return tokenizer, [save(tokenizer, root, "gpt2"), pair], ["<|endoftext|>"]


def gpt2_prefix(root, corpus):
    """GPT-2 with add_prefix_space, and added tokens that strip, that match words only, that are normalized."""
    tokenizer = train_byte_level(corpus, 3000, pre_tokenizers.ByteLevel(add_prefix_space=True), normalizers.NFKC())
    added = [AddedToken("<mask>", lstrip=True, special=True), AddedToken("<right>", rstrip=True, normalized=False),
             AddedToken("cone", single_word=True), AddedToken("\ufb01x", normalized=True), AddedToken("<a>"),
             AddedToken("<a><b>"), special("</s>"), special("<s>")]
    tokenizer.add_tokens(added)
    ids = {t: tokenizer.token_to_id(t) for t in ("<s>", "</s>")}
    tokenizer.post_processor = processors.RobertaProcessing(("</s>", ids["</s>"]), ("<s>", ids["<s>"]))
    extra = [a.content for a in added] + [" <mask> ", "<right>  ", "cones", " cone ", "fix", "<a><", "\u3000<mask>"]
    return tokenizer, [save(tokenizer, root, "gpt2-prefix")], extra


def codegen(root, corpus):
    """CodeGen's and Phi's: GPT-2 with added tokens for runs of spaces and tabs."""
    tokenizer = train_byte_level(corpus, 6000, pre_tokenizers.ByteLevel(add_prefix_space=False))
    pair = root / "codegen-pair"
    pair.mkdir()
    tokenizer.model.save(str(pair))
    runs = [" " * n for n in range(31, 1, -1)] + ["\t" * n for n in range(9, 1, -1)]
    tokenizer.add_special_tokens([special("<|endoftext|>")])
    tokenizer.add_tokens([AddedToken(run, normalized=True) for run in runs])
    tokens = {str(i): {"content": t.content, "special": t.special, "normalized": t.normalized, "lstrip": False,
                       "rstrip": False, "single_word": False}
              for i, t in tokenizer.get_added_tokens_decoder().items()}
    (pair / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "CodeGenTokenizer", "added_tokens_decoder": tokens}))
    return tokenizer, [save(tokenizer, root, "codegen"), pair], ["<|endoftext|>", "   ", " " * 40, "\t\t", "\t" * 11]


def merges_of(ranks):
    merges = []
    for token, rank in ranks.items():
        local = [(token[:i], token[i:]) for i in range(1, len(token)) if token[:i] in ranks and token[i:] in ranks]
        local.sort(key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))
        merges.extend((rank, left, right) for left, right in local)
    merges.sort(key=lambda merge: merge[0])
    return [(spelled(left), spelled(right)) for _, left, right in merges]


def from_ranks(ranks, pattern, normalizer, specials):
    tokenizer = Tokenizer(models.BPE({spelled(t): r for t, r in ranks.items()}, merges_of(ranks), fuse_unk=False,
                                     ignore_merges=True))
    if normalizer is not None:
        tokenizer.normalizer = normalizer
    tokenizer.pre_tokenizer = split_by(pattern)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens([special(token) for token in specials])
    return tokenizer


def qwen(root, corpus):
    path, ranks = qwen_ranks()
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"] + [f"<|extra_{i}|>" for i in range(205)]
    tokenizer = from_ranks(ranks, QWEN, normalizers.NFC(), specials)
    return tokenizer, [save(tokenizer, root, "qwen"), path], specials[:5] + ["<|im_start|>user\n"]


def qwen2_pair(root, corpus):
    """Qwen 2's published form: vocab.json and merges.txt with a class name."""
    tokenizer = train_byte_level(corpus, 8000, split_by(QWEN), normalizers.NFC())
    pair = root / "qwen2-pair"
    pair.mkdir()
    tokenizer.model.save(str(pair))
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    tokenizer.add_special_tokens([special(token) for token in specials])
    tokens = {str(i): {"content": t.content, "special": True, "normalized": False}
              for i, t in tokenizer.get_added_tokens_decoder().items()}
    (pair / "tokenizer_config.json").write_text(
        json.dumps({"tokenizer_class": "Qwen2Tokenizer", "added_tokens_decoder": tokens}))
    return tokenizer, [save(tokenizer, root, "qwen2"), pair], specials


def llama3(root, corpus):
    """Llama 3's pattern, published as a .tiktoken file named tokenizer.model."""
    trained = train_byte_level(corpus, 8000, split_by(LLAMA3))
    char_bytes = {c: b for b, c in BYTE_CHARS.items()}
    ranks = {bytes(char_bytes[c] for c in token): rank for token, rank in trained.get_vocab().items()}
    ranks = dict(sorted(ranks.items(), key=lambda item: item[1]))
    path = root / "llama3-tiktoken"
    path.mkdir()
    (path / "tokenizer.model").write_text("".join(f"{base64.b64encode(t).decode()} {r}\n" for t, r in ranks.items()))
    specials = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>", "<|reserved_special_token_1|>",
                "<|finetune_right_pad_id|>", "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>",
                "<|eot_id|>", "<|python_tag|>"]
    specials += [f"<|reserved_special_token_{i}|>" for i in range(2, 2 + 256 - len(specials))]
    tokenizer = from_ranks(ranks, LLAMA3, None, specials)
    tokenizer.post_processor = processors.Sequence(
        [processors.ByteLevel(trim_offsets=False),
         processors.TemplateProcessing("<|begin_of_text|> $A", special_tokens=[
             ("<|begin_of_text|>", tokenizer.token_to_id("<|begin_of_text|>"))])])
    return tokenizer, [save(tokenizer, root, "llama3"), path], specials[:11]


def llama2(root, corpus):
    """A SentencePiece BPE model with byte fallback, as Llama 2's, and its conversion."""
    import sentencepiece
    # The model must hold every character it trains on: leave the large scripts to byte fallback.
    corpus = ["".join(c for c in line if ord(c) < 0x800) for line in corpus]
    folder = root / "llama2-model"
    folder.mkdir()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(corpus), model_prefix=str(folder / "tokenizer"), model_type="bpe", vocab_size=6000,
        byte_fallback=True, normalization_rule_name="identity", remove_extra_whitespaces=False, split_digits=True,
        allow_whitespace_only_pieces=True, character_coverage=0.999, user_defined_symbols=["<image>"],
        num_threads=1, minloglevel=2)
    (folder / "tokenizer.vocab").unlink()
    model = sentencepiece.SentencePieceProcessor(model_file=str(folder / "tokenizer.model"))
    pieces = [model.id_to_piece(i) for i in range(model.get_piece_size())]
    vocabulary = {piece: i for i, piece in enumerate(pieces)}
    added = ["<unk>", "<s>", "</s>", "<image>"]
    merges = []
    for i, piece in enumerate(pieces):
        if piece in added or model.is_byte(i):
            continue
        for cut in range(1, len(piece)):
            left, right = piece[:cut], piece[cut:]
            if left in vocabulary and right in vocabulary:
                merges.append((model.get_score(i), cut, len(piece) - cut, left, right))
    merges.sort(key=lambda m: m[:3], reverse=True)
    tokenizer = Tokenizer(models.BPE(vocabulary, [m[3:] for m in merges], unk_token="<unk>", fuse_unk=True,
                                     byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend(MARK), normalizers.Replace(" ", MARK)])
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    tokenizer.add_special_tokens([special(token) for token in added[:3]])
    tokenizer.add_tokens([AddedToken("<image>", normalized=False)])
    tokenizer.post_processor = processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 1)])
    return tokenizer, [save(tokenizer, root, "llama2"), folder], ["<s>", "</s>", "<image>", "<0x41>", MARK]


def llama2_metaspace(root, corpus):
    """The newer conversion of the same kind of model: a Metaspace step in place of the normalizer."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(MARK, prepend_scheme="first", split=False)
    trainer = trainers.BpeTrainer(vocab_size=4000, show_progress=False, max_token_length=12, limit_alphabet=900,
                                  special_tokens=["<unk>", "<s>", "</s>"] + [f"<0x{b:02X}>" for b in range(256)])
    words = [" " + word for line in corpus[:2000] for word in line.split(" ")[:40]]
    tokenizer.train_from_iterator(words, trainer)
    text = json.loads(tokenizer.to_str())
    text["added_tokens"] = text["added_tokens"][:3]
    tokenizer = Tokenizer.from_str(json.dumps(text))
    tokenizer.decoder = decoders.Sequence([decoders.Replace(MARK, " "), decoders.ByteFallback(), decoders.Fuse(),
                                           decoders.Strip(" ", 1, 0)])
    return tokenizer, [save(tokenizer, root, "llama2-metaspace")], ["<s>", "</s>"]


FAMILIES = [gpt2, gpt2_prefix, codegen, qwen, qwen2_pair, llama2, llama2_metaspace, llama3]


# ---- the comparison --------------------------------------------------------------------------------

def ask(program, model, job, lines):
    done = subprocess.run([program, str(model), job], input="".join(json.dumps(line) + "\n" for line in lines),
                          capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"tokenizers_test: {model} {job}: exit {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.splitlines()]


def differences(what, inputs, expected, found, show):
    assert len(expected) == len(found) == len(inputs), (what, len(expected), len(found))
    wrong = [(i, e, f) for i, e, f in zip(inputs, expected, found) if e != f]
    for i, e, f in wrong[:show]:
        print(f"  {what}: input {i!r}\n    expected {e}\n    found    {f}")
    return len(wrong)


def compare(program, family, strings, count, root, corpus):
    start = time.time()
    tokenizer, places, extra = family(root, corpus)
    texts = [strings.text(extra) for _ in range(count)]
    plain = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=False)]
    full = [e.ids for e in tokenizer.encode_batch(texts, add_special_tokens=True)]
    # Half of the ids to decode are those of texts, half are drawn at random: ill-formed bytes.
    end = max(tokenizer.get_vocab().values())
    ids = full[: count // 2] + [[strings.random.randint(0, end) for _ in range(strings.random.randint(0, 12))]
                                for _ in range(count - count // 2)]
    text = tokenizer.decode_batch(ids, skip_special_tokens=True)
    decoded = [[a, b, a] for a, b in zip(text, tokenizer.decode_batch(ids, skip_special_tokens=False))]
    failed = 0
    for place in places:
        wrong = differences("ids", texts, plain, ask(program, place, "encode", texts), 3)
        wrong += differences("ids with special tokens", texts, full, ask(program, place, "special", texts), 3)
        wrong += differences("text", ids, decoded, ask(program, place, "decode", ids), 3)
        print(f"{family.__name__}: {place.name}: {count} strings, {wrong} differences", flush=True)
        failed += wrong
    print(f"{family.__name__}: {time.time() - start:.1f} s", flush=True)
    return failed


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program")
    parser.add_argument("--strings", type=int, default=int(os.environ.get("MOSE_TOKENIZER_STRINGS", "2000")))
    parser.add_argument("--families", default=",".join(f.__name__ for f in FAMILIES))
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()

    words = []
    for token in qwen_ranks()[1]:
        try:
            words.append(token.decode())
        except UnicodeDecodeError:
            pass
    draw = random.Random(args.seed)
    corpus = ["".join(draw.choice(words) for _ in range(60)).replace("\0", "") for _ in range(3000)]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for family in FAMILIES:
            if family.__name__ in args.families.split(","):
                failed += compare(args.program, family, Strings(args.seed, words), args.strings, pathlib.Path(folder),
                                  corpus)
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
