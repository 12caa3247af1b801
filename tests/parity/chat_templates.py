"""Chat templates against reference renderings, over random conversations of several turns, with and without a
system text, with and without a generation prompt.

    family    held against
    vicuna    FastChat's vicuna_v1.1, its own system text included
    chatml    FastChat's qwen-7b-chat; axolotl's chatml.jinja and qwen_25.jinja through transformers
    llama2    FastChat's llama-2, which leaves the first <s> to the tokenizer and begins the next turn at once; and
              the format's definition written here in Jinja, which strips, through transformers
    llama3    axolotl's llama3.jinja through transformers
    phi       axolotl's phi_35.jinja through transformers; that copy leaves out the end of the text, which the
              published template puts behind a conversation that waits for no answer
    stablelm  FastChat's zephyr, of whose format it is, with StableLM's end of text; and the format's definition
              written here in Jinja, through transformers

FastChat and axolotl are data here: fastchat/conversation.py and axolotl's .jinja files; neither's models are run."""

import importlib.util
import json
import os
import pathlib
import random
import subprocess
import sys

try:
    from fastchat.conversation import get_conv_template
    from tokenizers import Tokenizer, models
    from transformers import PreTrainedTokenizerFast
except ImportError as error:
    sys.exit(f"chat_templates: {error}; scripts/setup.sh --tests installs it")

PROGRAM = pathlib.Path(os.environ["MOSE_BIN"]) / "chat_for_parity"
CONVERSATIONS = 400
# Every turn is its role, a line break, the text, the end of the text, a line break.
ZEPHYR_FORMAT = ("{% for m in messages %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
                 "{% if add_generation_prompt %}<|assistant|>\n{% endif %}")
# A question in [INST] ... [/INST] behind <s>, its answer before </s>, both stripped; the system text inside the first question.
LLAMA2_FORMAT = ("{% set system = messages[0].role == 'system' %}{% for m in (messages[1:] if system else messages) %}"
                 "{% if m.role == 'user' %}{% set text = m.content %}{% if system and loop.first %}"
                 "{% set text = '<<SYS>>\\n' + messages[0].content + '\\n<</SYS>>\\n\\n' + text %}{% endif %}"
                 "{{ bos_token }}[INST] {{ text | trim }} [/INST]{% else %} {{ m.content | trim }} {{ eos_token }}{% endif %}{% endfor %}")
PIECES = ["What is ahead?", "A cone in the ego lane.", "<image>\n", "Слева автобус", "前方有行人", "🚗", "Slow down,\nthen stop.",
          "{{ messages }}", "{% if x %}", "USER:", "<b>", "\n\n", "  two  spaces", "it's 5 < 6 & 7", "é", "\u00a0", "\t", "\u2028", "\x1f", "\x85", "\u200b"]


class FastChat:
    def __init__(self, name, **changes):
        self.name, self.changes = name, changes

    def __call__(self, messages, generate):
        conversation = get_conv_template(self.name)
        for key, value in self.changes.items():
            setattr(conversation, key, value)
        if messages[0][0] == "system":
            conversation.set_system_message(messages[0][1])
        for role, content in messages:
            if role != "system":
                conversation.append_message(conversation.roles[role == "assistant"], content)
        if generate:
            conversation.append_message(conversation.roles[1], None)
        return conversation.get_prompt()


class Jinja:
    def __init__(self, template, end="", **tokens):
        self.tokenizer = PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.BPE()), chat_template=template, **tokens)
        self.end = end

    def __call__(self, messages, generate):
        listed = [{"role": role, "content": content} for role, content in messages]
        text = self.tokenizer.apply_chat_template(listed, tokenize=False, add_generation_prompt=generate)
        return text if generate else text + self.end


def axolotl(name):
    spec = importlib.util.find_spec("axolotl")
    if spec is None:
        sys.exit("chat_templates: the package axolotl is missing; scripts/setup.sh --tests installs it")
    return (pathlib.Path(spec.origin).parent / "utils/chat_templates/templates" / f"{name}.jinja").read_text()


def llama2(messages, generate):
    text = "<s>" + FastChat("llama-2")(messages, generate)
    return text.removesuffix("<s>")


# family -> (reference, whether texts may begin and end with white space, whether there must be a system text)
REFERENCES = [
    ("vicuna", "FastChat", FastChat("vicuna_v1.1"), True, False),
    ("chatml", "FastChat", FastChat("qwen-7b-chat"), True, True),
    ("chatml", "axolotl chatml", Jinja(axolotl("chatml")), True, False),
    ("chatml", "axolotl qwen_25", Jinja(axolotl("qwen_25")), True, True),
    ("llama2", "FastChat", llama2, False, False),
    ("llama2", "the format's definition", Jinja(LLAMA2_FORMAT, bos_token="<s>", eos_token="</s>"), True, False),
    ("llama3", "axolotl llama3", Jinja(axolotl("llama3"), bos_token="<|begin_of_text|>"), True, False),
    ("phi", "axolotl phi_35", Jinja(axolotl("phi_35"), end="<|endoftext|>"), True, False),
    ("stablelm", "FastChat zephyr", FastChat("zephyr", sep="<|endoftext|>"), True, True),
    ("stablelm", "the format's definition", Jinja(ZEPHYR_FORMAT, eos_token="<|endoftext|>"), True, False),
]


def conversation(draw, spaces, system):
    def text():
        value = " ".join(draw.choice(PIECES) for _ in range(draw.randint(1, 5)))
        value = value if spaces else value.strip()
        return value or "Go?"

    messages = [("system", text())] if system or draw.random() < 0.5 else []
    turns = draw.randint(1, 4)
    for _ in range(turns):
        messages += [("user", text()), ("assistant", text())]
    generate = draw.random() < 0.6  # an answer is asked for only where one is due
    return (messages[:-1] if generate else messages), generate


def ours(family, asked):
    lines = [json.dumps({"template": family, "messages": messages, "generate": generate}) for messages, generate in asked]
    done = subprocess.run([PROGRAM], input="\n".join(lines) + "\n", capture_output=True, text=True, timeout=60, check=False)
    if done.returncode:
        sys.exit(f"chat_templates: {family}: exit {done.returncode}: {done.stderr}")
    return [json.loads(line) for line in done.stdout.split("\n")[:-1]]


def main():
    failed = 0
    for family, name, reference, spaces, system in REFERENCES:
        draw = random.Random(f"{family} {name}")
        asked = [conversation(draw, spaces, system) for _ in range(CONVERSATIONS)]
        wrong = 0
        for (messages, generate), found in zip(asked, ours(family, asked), strict=True):
            expected = reference(messages, generate)
            if found != expected:
                wrong += 1
                if wrong <= 2:
                    print(f"  {messages} {generate}\n    expected {expected!r}\n    found    {found!r}")
        print(f"{family} against {name}: {len(asked)} conversations, {wrong} differ")
        failed += wrong
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
