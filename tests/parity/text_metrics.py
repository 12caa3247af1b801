"""Compares mose-eval's BLEU, ROUGE-L and CIDEr-D with the sacrebleu, rouge-score and pycocoevalcap packages.

    python tests/parity/text_metrics.py [build/bin/mose-eval]

Scores 400 random pairs of texts a task with awkward punctuation, numbers, entities and non-ASCII letters;
fails when a figure differs by more than 1e-6 (of 100; of 10 for CIDEr-D). pycocoevalcap's own tokenizer is a
Java program, so it is given the words that mose-eval takes: lower-case runs of a-z and 0-9.
"""
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile

import sacrebleu
from pycocoevalcap.cider.cider import Cider
from rouge_score import rouge_scorer

WORDS = ("the car truck cone ahead left right lane slow down, stop. yield! 3.5 1,000 20-30 (wet) road's "
         "50km/h é naïve &amp; &quot;sign&quot; A/B x-ray ... 3. ,5 -- $10 #4 [5] don't U.S. 中文 semi; :").split()
TASKS = ("general_perception", "region_perception", "driving_suggestion")


def pair(random_):
    reference = [random_.choice(WORDS) for _ in range(random_.randint(1, 40))]
    answer = [w if random_.random() < 0.7 else random_.choice(WORDS)
              for w in reference if random_.random() < 0.9]
    return " ".join(answer), random_.choice((" ", "\n")).join(reference)


def words(text):
    return " ".join(re.findall("[a-z0-9]+", text.lower()))


def cider(pairs):
    """The corpus figure of (answer, reference) pairs."""
    return Cider().compute_score({i: [words(r)] for i, (_, r) in enumerate(pairs)},
                                 {i: [words(a)] for i, (a, _) in enumerate(pairs)})[0]


def main():
    program = sys.argv[1] if len(sys.argv) > 1 else pathlib.Path(os.environ["MOSE_BIN"]) / "mose-eval"
    random_ = random.Random(0)
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        questions, answers = folder / "CODA-LM" / "Test" / "vqa_anno", folder / "answers"
        questions.mkdir(parents=True)
        answers.mkdir()
        pairs = {}
        for task in TASKS:
            pairs[task] = [pair(random_) for _ in range(400)]
            with open(questions / f"{task}.jsonl", "w") as q, open(answers / f"{task}_answer.jsonl", "w") as a:
                for i, (answer, reference) in enumerate(pairs[task]):
                    image = (f"test/images_w_boxes/{i:04}_object_1.jpg" if task.startswith("region")
                             else f"test/images/{i:04}.jpg")
                    row = {"question_id": i, "image": image, "question": "", "label_name": "car"}
                    q.write(json.dumps({**row, "answer": reference}) + "\n")
                    a.write(json.dumps({**row, "answer": answer}) + "\n")
        subprocess.run([program, "--quiet", "score", "--coda", folder, "--split", "Test", "--answers", answers,
                        "--judge", "text", "--out", folder / "out"], check=True, stdout=subprocess.DEVNULL)
        ours = json.loads((folder / "out" / "scores.json").read_text())["text"]
    scorer = rouge_scorer.RougeScorer(["rougeL"])
    worst = 0.0
    for task in TASKS:
        hypotheses, references = zip(*pairs[task])
        theirs = {
            "bleu": sacrebleu.corpus_bleu(hypotheses, [references]).score,
            "sentence_bleu": sum(sacrebleu.sentence_bleu(h, [r]).score for h, r in pairs[task]) / len(hypotheses),
            "rouge_l": 100 * sum(scorer.score(r, h)["rougeL"].fmeasure for h, r in pairs[task]) / len(hypotheses),
        }
        theirs["cider"] = cider(pairs[task])
        for name, value in theirs.items():
            worst = max(worst, abs(ours[task][name] - value))
            print(f"{task:20} {name:14} ours {ours[task][name]:.8f}  theirs {value:.8f}")
    everything = cider([p for task in TASKS for p in pairs[task]])
    worst = max(worst, abs(ours["cider"] - everything))
    print(f"{'all tasks':20} {'cider':14} ours {ours['cider']:.8f}  theirs {everything:.8f}")
    print(f"largest difference {worst:.2e}")
    return 0 if worst < 1e-6 else 1


if __name__ == "__main__":
    sys.exit(main())
