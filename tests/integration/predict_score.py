"""From a trained model to answer files and scores, through the programs, on a tiny procedural set."""

import json
import pathlib
import signal
import subprocess
import tempfile
import time

import numpy as np
from runs import BIN, SMOKE, check
from safetensors.numpy import load_file


def run(program, *args):
    done = subprocess.run([BIN / program, "--quiet", *map(str, args)], capture_output=True, text=True, timeout=500)
    check(done.returncode == 0, f"{program} {' '.join(map(str, args))}: exit code {done.returncode}: {done.stderr}")
    return done.stdout


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def check_int8(model, data, folder):
    """8-bit weights of a trained model: its perplexity on the set's answers and the tokens it prefers."""
    text = " ".join(row["answer"] for task in ("general_perception", "driving_suggestion")
                    for row in rows(data / "CODA-LM/Val/vqa_anno" / f"{task}.jsonl"))[:1500]
    losses, best = [], []
    for weights in ("stored", "int8"):
        out = folder / f"{weights}.safetensors"
        run("mose-infer", "logits", "--model", model, "--prompt", text, "--weights", weights, "--out", out)
        tensors = load_file(out)
        logits, ids = tensors["logits"].astype(np.float64)[:-1], tensors["input_ids"][1:]
        peak = logits.max(1)
        losses.append(float((np.log(np.exp(logits - peak[:, None]).sum(1)) + peak - logits[np.arange(len(ids)), ids]).mean()))
        best.append(logits.argmax(1))
    same, perplexity = float((best[0] == best[1]).mean()), float(np.exp(losses[1] - losses[0]))
    check(0.98 < perplexity < 1.02 and same > 0.95, f"8-bit weights: perplexity times {perplexity:.4f}, {same:.1%} of the best tokens the same")
    check(losses[0] != losses[1], "--weights int8 changes nothing")
    print(f"8-bit weights: perplexity times {perplexity:.4f}, {same:.1%} of {len(best[0])} best tokens the same")


def check_logits(model, out):
    """A dense model's logits equal those of transformers' Llama with the same weights."""
    import torch
    from transformers import LlamaConfig, LlamaForCausalLM

    config = json.loads((model / "config.json").read_text())["language"]
    reference = LlamaForCausalLM(LlamaConfig(
        vocab_size=config["vocab_size"], hidden_size=config["hidden_size"], intermediate_size=config["intermediate_size"],
        num_hidden_layers=config["layers"], num_attention_heads=config["heads"], num_key_value_heads=config["kv_heads"],
        rms_norm_eps=config["norm_eps"], rope_theta=config["rope_theta"], tie_word_embeddings=config["tie_embeddings"]))
    weights = {name.replace("model.language_model.", "model."): torch.tensor(value)
               for name, value in load_file(model / "model.safetensors").items() if ".language_model." in name}
    missing, unexpected = reference.load_state_dict(weights, strict=False)
    check(not unexpected and set(missing) <= {"lm_head.weight"}, f"weights: missing {missing}, unexpected {unexpected}")
    reference.tie_weights()
    ours = load_file(out)
    with torch.no_grad():
        theirs = reference.eval()(torch.tensor(ours["input_ids"])[None]).logits[0].numpy()
    error = np.abs(ours["logits"] - theirs).max() / np.abs(theirs).max()
    check(error < 1e-4, f"logits differ from transformers' Llama by {error:.2e}")


def check_routing_picture(folder, model):
    """Of an even grey image: every patch has the colour of the expert that is printed for it, which the legend shows."""
    from PIL import Image

    Image.new("RGB", (640, 360), (120, 120, 120)).save(folder / "grey.png")
    said = json.loads(run("mose-infer", "routing", "--model", model, "--image", folder / "grey.png", "--out", folder / "routing.png"))
    picture = np.asarray(Image.open(folder / "routing.png").convert("RGB")).astype(float)
    config = json.loads((model / "config.json").read_text())
    check(len(said["layers"]) == 2 and len(said["experts"]) == config["language"]["moe"]["experts"], f"{said}")
    colours = {}
    for layer in said["layers"]:
        across, down, width, height = (layer[k] for k in ("across", "down", "width", "height"))
        merge = config["projector"]["merge"] * config["vision"]["patch_size"]
        check((across, down) == (config["vision"]["image_width"] // merge, config["vision"]["image_height"] // merge), f"{layer}")
        check(width >= 320 and width % config["vision"]["image_width"] == 0, f"panel of {width} pixels")
        frame = picture[layer["top"]:layer["top"] + height, layer["left"]:layer["left"] + width]
        for cell, expert in enumerate(layer["expert"]):
            y, x = divmod(cell, across)
            patch = frame[y * height // down + 1:(y + 1) * height // down - 1, x * width // across + 1:(x + 1) * width // across - 1]
            check(np.ptp(patch, axis=(0, 1)).max() == 0, f"layer {layer['layer']}, cell {cell}: more than one colour")
            colours.setdefault(expert, set()).add(tuple(patch[0, 0]))
    check(all(len(c) == 1 for c in colours.values()), f"an expert of two colours: {colours}")
    check(len(set.union(*colours.values())) == len(colours), f"two experts of one colour: {colours}")
    # A legend's square, 16 pixels high, holds the colour itself: the grey took 0.45 of the patch.
    for line, expert in enumerate(range(len(said["experts"]))):
        below = max(layer["top"] + layer["height"] for layer in said["layers"])
        square = picture[below + 16 + 22 * line + 8, 8 + 8]
        if expert in colours:
            patch = np.array(next(iter(colours[expert])))
            check(np.abs(patch - (0.45 * 120 + 0.55 * square)).max() <= 1.6, f"expert {expert}: patch {patch}, legend {square}")
    one = json.loads(run("mose-infer", "routing", "--model", model, "--image", folder / "grey.png", "--layer",
                         said["layers"][1]["layer"], "--out", folder / "one.png"))
    check([l["expert"] for l in one["layers"]] == [said["layers"][1]["expert"]], "--layer shows another layer")


TASKS = ("general_perception", "region_perception", "driving_suggestion")


def answer_bytes(out):
    return [(out / f"{task}_answer.jsonl").read_bytes() for task in TASKS]


def kill_when_some_are_answered(command, journal):
    process = subprocess.Popen(list(map(str, command)), stderr=subprocess.PIPE, text=True)
    deadline = time.time() + 100
    while process.poll() is None and time.time() < deadline:
        if journal.exists() and journal.read_bytes().count(b"\n") > 3:
            process.send_signal(signal.SIGTERM)
            break
        time.sleep(0.002)
    said = process.communicate(timeout=100)[1]
    check(process.returncode == 128 + signal.SIGTERM and "the same command goes on" in said, f"{process.returncode}: {said}")


def check_places_and_resume(model, data, folder):
    """Answers depend neither on how many are generated side by side nor on a stop in between."""
    ask = ["--model", model, "--coda", data, "--split", "Test", "--form", "multi_turn", "--max-new-tokens", 24]
    for batch in (32, 3, 1):
        run("mose-infer", "predict", *ask, "--batch", batch, "--out", folder / f"batch_{batch}")
        check(answer_bytes(folder / f"batch_{batch}") == answer_bytes(folder / "batch_32"), f"--batch {batch} answers otherwise")
    whole = json.loads((folder / "batch_32/predict.json").read_text())
    check(whole["image_encodings"] == whole["images"] + whole["regions"], "two questions about a scene's picture: one encoding")
    check(whole["answers"] == 2 * whole["images"] + whole["regions"] and whole["resumed_answers"] == 0, f"counts: {whole}")
    check(0 < whole["shared_prompt_tokens"] < whole["prompt_tokens"], f"shared rows: {whole}")

    out = folder / "stopped"
    journal = out / "predict.partial.jsonl"
    kill_when_some_are_answered([BIN / "mose-infer", "predict", *ask, "--batch", 1, "--out", out], journal)
    check(not (out / "predict.json").exists() and not list(out.glob("*_answer.jsonl")), "files of a stopped prediction")
    other = subprocess.run(list(map(str, [BIN / "mose-infer", "predict", *ask, "--seed", 9, "--out", out])), capture_output=True, text=True)
    check(other.returncode == 2 and "sampling.seed (1 there, 9 now)" in other.stderr, f"{other.returncode}: {other.stderr}")
    journal.write_bytes(journal.read_bytes() + b'{"item": 0, "tok')  # as a crash leaves it
    run("mose-infer", "predict", *ask, "--batch", 3, "--out", out)
    check(answer_bytes(out) == answer_bytes(folder / "batch_32"), "a stopped prediction ends with other answers")
    resumed = json.loads((out / "predict.json").read_text())
    check(0 < resumed["resumed_answers"] < resumed["answers"] and not journal.exists(), f"counts: {resumed}")
    for key in ("answers", "unfinished_answers", "prompt_tokens", "generated_tokens", "decoder_passes"):
        check(resumed[key] == whole[key], f"{key}: {resumed[key]} of a stopped prediction, {whole[key]} of a whole one")


def main():
    with tempfile.TemporaryDirectory(prefix="mose_predict_") as folder:
        folder = pathlib.Path(folder)
        data, trained = folder / "coda", folder / "run"
        run("mose-data", "scenes", "--out", data, "--train", 6, "--val", 2, "--test", 3, "--seed", 5)
        smoke = ["--config", SMOKE, "--set", f"data.root={data}"]
        run("mose-train", *smoke, "--run", trained)

        answers = folder / "answers"
        run("mose-infer", "predict", "--model", trained / "model", "--coda", data, "--split", "Test", "--out", answers,
            "--max-new-tokens", 24)
        blind = folder / "blind"
        run("mose-infer", "predict", "--model", trained / "model", "--coda", data, "--split", "Test", "--out", blind,
            "--max-new-tokens", 24, "--blind", "--batch", 3)
        controls = folder / "controls"
        run("mose-infer", "predict", "--model", trained / "model", "--coda", data, "--split", "Test", "--out", controls,
            "--max-new-tokens", 6, "--form", "multi_turn", "--shuffle-images", "--oracle-category")
        single, multi = (json.loads((out / "predict.json").read_text()) for out in (answers, controls))
        check(multi["shuffled_images"] and multi["oracle_category"] and multi["form"] == "multi_turn", "controls are not declared")
        check(single["image_encodings"] == single["images"] + single["regions"] == single["answers"], "one encoding an answer")
        check(multi["images"] < multi["image_encodings"] <= multi["images"] + multi["regions"], "one encoding a picture")
        check(multi["prompt_tokens"] > single["prompt_tokens"] and 0 < multi["generated_tokens"] <= multi["decoder_passes"],
              f"counts: {multi}")
        for task in TASKS:
            check([r["image"] for r in rows(controls / f"{task}_answer.jsonl")] ==
                  [r["image"] for r in rows(data / "CODA-LM/Test/vqa_anno" / f"{task}.jsonl")], f"{task} with controls: other rows")
            asked = rows(data / "CODA-LM/Test/vqa_anno" / f"{task}.jsonl")
            given = rows(answers / f"{task}_answer.jsonl")
            check([(r["question_id"], r["image"]) for r in given] == [(r["question_id"], r["image"]) for r in asked],
                  f"{task}: the answers' rows are not those of the questions")
        check(all(r["label_name"] for r in rows(answers / "region_perception_answer.jsonl")), "region rows lack label_name")

        check_places_and_resume(trained / "model", data, folder)
        check_int8(trained / "model", data, folder)

        run("mose-eval", "score", "--coda", data, "--split", "Test", "--answers", answers, "--blind-answers", blind,
            "--judge", "facts,text", "--out", folder / "scores")
        scores = json.loads((folder / "scores/scores.json").read_text())
        check(scores["comparable"] is False, "offline scores must not be called comparable")
        for stage in ("describe", "reason", "plan"):
            check(0 <= scores["facts"][stage]["f1"] <= 1 and 0 <= scores["blind_facts"][stage]["f1"] <= 1, f"facts.{stage}")

        image = data / rows(data / "CODA-LM/Test/vqa_anno/general_perception.jsonl")[0]["image"]
        shown = run("mose-infer", "generate", "--model", trained / "model", "--image", image, "--routing",
                    "--max-new-tokens", 12, "--color", "always")
        check("\x1b[38;5;" in shown and "sparse layer 0" in shown, f"--routing printed: {shown}")

        check_routing_picture(folder, trained / "model")

        # The dense part of the recipe alone, against transformers.
        dense = folder / "dense"
        stages = json.dumps([{"name": "dense", "kind": "dense", "steps": 5, "lr": 0.01}])
        run("mose-train", *smoke, "--set", f"stages={stages}", "--run", dense)
        run("mose-infer", "logits", "--model", dense / "model", "--prompt", "A red car in the ego lane. Slow down!", "--out",
            folder / "logits.safetensors")
        check_logits(dense / "model", folder / "logits.safetensors")

        # Upcycling through the program keeps the hash of a directory stable and the logits equal.
        run("mose-model", "init", "--from", dense / "model", "--upcycle", "sparse", "--set", "moe.experts=4", "--out",
            folder / "sparse")
        run("mose-infer", "logits", "--model", folder / "sparse", "--prompt", "A red car in the ego lane. Slow down!",
            "--out", folder / "sparse.safetensors")
        a, b = load_file(folder / "logits.safetensors")["logits"], load_file(folder / "sparse.safetensors")["logits"]
        check(np.abs(a - b).max() < 1e-4 * np.abs(a).max(), "the upcycled model's logits differ from the dense model's")
        hashes = {run("mose-model", "hash", folder / "sparse") for _ in range(2)}
        check(len(hashes) == 1, "mose-model hash is not stable")
        info = json.loads(run("mose-model", "info", folder / "sparse", "--json"))
        check(info["total_parameters"] > info["activated_parameters"] > 0, "mose-model info")
    print("predict_score: passed")


if __name__ == "__main__":
    main()
