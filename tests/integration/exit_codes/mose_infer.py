"""mose-infer's answers to bad input."""

import json

import coda
import tiny_model
from harness import Case

ASK = ["generate", "--model", "{dir}/model", "--max-new-tokens", "2", "--prompt", "What is ahead?"]
LOOK = [*ASK, "--image", "{dir}/CODA/val/images/0001.jpg"]
PREDICT = ["predict", "--model", "{dir}/model", "--coda", "{dir}/CODA", "--split", "Mini", "--max-new-tokens", "2",
           "--out", "{dir}/answers"]
LOGITS = ["logits", "--model", "{dir}/model", "--prompt", "What is ahead?", "--out"]
ANSWERS = [f"answers/{task}_answer.jsonl" for task in ("general_perception", "region_perception", "driving_suggestion")]


def with_set(spoil):
    """A good model beside a set that `spoil` makes."""

    def arrange(folder):
        tiny_model.make(folder)
        spoil(folder)

    return arrange


def text_as_image(folder):
    tiny_model.make_with_set(folder)
    (folder / "CODA" / "val" / "images" / "0001.jpg").write_text("no picture\n")


def wider(content):
    value = json.loads(content)
    value["language"]["hidden_size"] = 32
    return json.dumps(value).encode()


def with_journal(text):
    def arrange(folder):
        tiny_model.make_with_set(folder)
        (folder / "answers").mkdir()
        (folder / "answers" / "predict.partial.jsonl").write_text(text)

    return arrange


def full_disk(folder):
    tiny_model.make_with_set(folder)
    coda.full(folder / ANSWERS[0])


WEIGHTS = "{dir}/model/model.safetensors"

CASES = [
    Case("answers for a good image", LOOK, 0, arrange=tiny_model.make_with_set),
    Case("predicts a good set", PREDICT, 0, arrange=tiny_model.make_with_set, prints=["1 images and 1 regions"]),
    Case("the routing of a dense model", ["routing", "--model", "{dir}/model", "--image", "{dir}/CODA/val/images/0001.jpg", "--out", "{dir}/r.png"], 2,
         ["no sparse layer"], tiny_model.make_with_set, ["r.png"]),
    Case("no --model", ["generate"], 2, ["--model"]),
    Case("no such model", ASK, 3, ["{dir}/model/config.json", "no such file"]),
    Case("truncated config.json", ASK, 3, ["{dir}/model/config.json", "not valid JSON"],
         tiny_model.spoilt("config.json", tiny_model.first_half)),
    Case("truncated safetensors", ASK, 3, [WEIGHTS, "truncated"],
         tiny_model.spoilt("model.safetensors", tiny_model.first_half)),
    Case("safetensors cut in the header", ASK, 3, [WEIGHTS, "truncated"],
         tiny_model.spoilt("model.safetensors", lambda content: content[:500])),
    Case("empty safetensors", ASK, 3, [WEIGHTS], tiny_model.spoilt("model.safetensors", lambda content: b"")),
    Case("weights of another size", ASK, 3, ["{dir}/model", "expected shape", "found"],
         tiny_model.spoilt("config.json", wider)),
    Case("model without its tokenizer", ASK, 3, ["{dir}/model", "no tokenizer"], tiny_model.without("tokenizer.json")),
    Case("model without its taxonomy", ASK, 3, ["{dir}/model/skills.json", "no such file"],
         tiny_model.without("skills.json")),
    Case("missing image", LOOK, 3, ["0001.jpg", "no such file"], tiny_model.make),
    Case("truncated image", LOOK, 3, ["0001.jpg"], with_set(coda.with_truncated_image)),
    Case("text instead of an image", LOOK, 3, ["0001.jpg", "not a JPEG"], text_as_image),
    Case("an image token in the question", ["generate", "--model", "{dir}/model", "--prompt", "An <image>?"], 3,
         ["<image>"], tiny_model.make),
    Case("value out of range", [*ASK, "--top-p", "2"], 2, ["--top-p", "2"], tiny_model.make),
    Case("--image and --blind", [*LOOK, "--blind"], 2, ["--image", "--blind"], tiny_model.make_with_set),
    Case("unknown split", ["Mni" if a == "Mini" else a for a in PREDICT], 2, ["Mni", "Mini"], tiny_model.make_with_set,
         ANSWERS),
    Case("shuffled pictures of one image", [*PREDICT, "--shuffle-images"], 2, ["shuffled images", "two scenes", "found 1"],
         tiny_model.make_with_set, ANSWERS),
    Case("two controls at once", [*PREDICT, "--shuffle-images", "--blind"], 2, ["--blind", "--shuffle-images"],
         tiny_model.make_with_set, ANSWERS),
    Case("unknown form", [*PREDICT, "--form", "three_turn"], 2, ["three_turn", "multi_turn"], tiny_model.make_with_set,
         ANSWERS),
    Case("the beginning of another prediction", PREDICT, 2, ["{dir}/answers/predict.partial.jsonl", "model", "abc", "remove it"],
         with_journal('{"prediction": {"model": "abc"}}\n'), ANSWERS),
    Case("a damaged beginning", PREDICT, 3, ["{dir}/answers/predict.partial.jsonl:1", "not valid JSON"], with_journal('{"prediction"\n'),
         ANSWERS),
    Case("8-bit weights", [*LOOK, "--weights", "int8"], 0, arrange=tiny_model.make_with_set),
    Case("weights of no such form", [*LOOK, "--weights", "int3"], 2, ["int3", "int8"], tiny_model.make_with_set),
    Case("no worker", [*PREDICT, "--workers", "0"], 2, ["--workers", "0"], tiny_model.make_with_set, ANSWERS),
    Case("no such set", PREDICT, 3, ["{dir}/CODA"], tiny_model.make, ANSWERS),
    Case("truncated annotation", PREDICT, 3, ["val_0001.json", "not valid JSON"], with_set(coda.truncated), ANSWERS),
    Case("box outside the image", PREDICT, 3, ["val_0001.json", "[60, 20, 30, 16]", "64 x 48"],
         with_set(coda.spoilt(coda.box_outside)), ANSWERS),
    Case("an annotation without its image", PREDICT, 3, ["0001.jpg"], with_set(coda.without_image), ANSWERS),
    Case("full disk", PREDICT, 1, ["general_perception_answer.jsonl", "No space left on device"], full_disk),
    Case("full disk behind stdout", [*LOGITS, "{dir}/logits.safetensors"], 1, ["standard output"], tiny_model.make,
         stdout_to="/dev/full"),
    Case("logits to a device", [*LOGITS, "/dev/full"], 1, ["/dev/full", "cannot write"], tiny_model.make),
    Case("logits of no text", ["" if a == "What is ahead?" else a for a in [*LOGITS, "{dir}/logits.safetensors"]], 2,
         ["--prompt"], tiny_model.make, ["logits.safetensors"]),
]
