"""The report in headless Chromium: sorting, filtering, both themes, phone width, no error, no request.

    python tests/integration/report_page.py [FOLDER]    with FOLDER, screenshots are kept there

Skipped (exit code 77) where there is no Chromium.
"""

import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "support"))
import chromium  # noqa: E402

BIN = pathlib.Path(os.environ["MOSE_BIN"])
TASKS = ("general_perception", "region_perception", "driving_suggestion")
HOSTILE = '<img src="http://hostile.invalid/x.png" onerror="alert(1)"></script><script>window.bad = 1</script> & "quoted"'


def check(condition, message):
    if not condition:
        sys.exit(f"FAILED: {message}")


def run(program, *args):
    done = subprocess.run([BIN / program, "--quiet", *map(str, args)], capture_output=True, text=True, timeout=300)
    check(done.returncode == 0, f"{program} {' '.join(map(str, args))}: exit code {done.returncode}: {done.stderr}")


def rows(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def answer(data, out, keep, seed):
    """Answers that keep each word of the reference with probability `keep`; one is missing, one hostile."""
    random_ = random.Random(seed)
    out.mkdir()
    for task in TASKS:
        given = []
        for i, row in enumerate(rows(data / "CODA-LM/Test/vqa_anno" / f"{task}.jsonl")):
            words = [w for w in row["answer"].split() if random_.random() < keep] or ["nothing"]
            text = HOSTILE if i == 1 else " ".join(words)
            if not (i == 2 and seed == 1):
                given.append({**row, "answer": text})
        (out / f"{task}_answer.jsonl").write_text("".join(json.dumps(r) + "\n" for r in given))
    (out / "predict.json").write_text(json.dumps({
        "form": "single_turn", "oracle_category": seed == 1, "images": 8, "regions": 20, "image_encodings": 28,
        "decoder_passes": 3000, "prompt_tokens": 9000, "generated_tokens": 2972, "seconds": 12.5}))


def add_model_judge(folder):
    """Verdicts of a judge with words of its own, asked twice, as a language model's would come."""
    random_ = random.Random(7)
    items = rows(folder / "items.jsonl")
    for row in [r for r in items if r["judge"] == "text" and r["prediction"] is not None]:
        for repeat in range(2):
            score = 10 * random_.randint(1, 10)
            items.append({**row, "judge": "a-model", "repeat": repeat, "score": score,
                          "reply": f"{HOSTILE} It mentions the cones. Rating: [[{score // 10}]]"})
    (folder / "items.jsonl").write_text("".join(json.dumps(r) + "\n" for r in items))
    scores = json.loads((folder / "scores.json").read_text())
    scores["judges"]["a-model"] = {"protocol": {"name": "ours"}, "spent": {"requests": 40, "prompt_tokens": 50000,
                                                                       "cost": 0.42, "currency": "USD"}}
    (folder / "scores.json").write_text(json.dumps(scores))


def make(folder):
    data = folder / "coda"
    run("mose-data", "scenes", "--out", data, "--train", 1, "--val", 1, "--test", 8, "--seed", 4)
    for name, keep, seed in (("ours", 0.8, 1), ("theirs", 0.4, 2)):
        answer(data, folder / name, keep, seed)
        run("mose-eval", "score", "--coda", data, "--split", "Test", "--answers", folder / name, "--judge", "facts,text",
            "--out", folder / f"{name}_scores")
        add_model_judge(folder / f"{name}_scores")
    published = pathlib.Path(__file__).resolve().parents[2] / "configs/published/coda_lm.json"
    spec = {"title": "Cones & <dogs>", "coda": "coda", "split": "Test", "items": 2, "samples": 2, "published": str(published),
            "arms": [{"name": name, "label": f"{name} <b>", "scores": f"{name}_scores/scores.json", "answers": name,
                      "activated_parameters": 3000000, "total_parameters": 6000000, "train_seconds": 90}
                     for name in ("ours", "theirs")]}
    (folder / "spec.json").write_text(json.dumps(spec))
    run("mose-eval", "report", "--spec", folder / "spec.json", "--out", folder / "report.html")
    return folder / "report.html"


COLUMN = """[...document.querySelectorAll('#summary tbody tr')].map(r => r.cells[%d].dataset.v)"""
CLICK = """document.querySelectorAll('#summary thead th')[%d].querySelector('button').click()"""
VISIBLE = """[...document.querySelectorAll('#cards > article')].filter(c => !c.hidden && c.offsetParent).map(c => c.dataset.%s)"""
SET = """(() => { const form = document.querySelector('form[data-list=%s]'); form.elements.%s.value = %s;
  form.elements.%s.dispatchEvent(new Event('input', {bubbles: true}));
  form.elements.%s.dispatchEvent(new Event('change', {bubbles: true})); })()"""


def choose(page, form, field, value):
    page.run(SET % (json.dumps(form), field, json.dumps(value), field, field))


def check_sorting(page):
    page.run(CLICK % 4)
    values = page.run(COLUMN % 4)
    numbers = [float(v) for v in values if v != ""]
    check(len(numbers) > 5 and numbers == sorted(numbers, reverse=True), f"Final is not sorted downwards: {values}")
    page.run(CLICK % 4)
    check([float(v) for v in page.run(COLUMN % 4) if v] == sorted(numbers), "Final is not sorted upwards")
    state = page.run("document.querySelectorAll('#summary thead th')[4].getAttribute('aria-sort')")
    check(state == "ascending", f"aria-sort is {state}")
    page.run(CLICK % 1)
    check(page.run(COLUMN % 1)[-1] == "", "a row without a figure is not last")
    page.run(CLICK % 0)
    names = page.run("[...document.querySelectorAll('#summary tbody tr')].map(r => r.cells[0].textContent.trim().toLowerCase())")
    check(names == sorted(names), f"names are not sorted: {names}")


def check_filtering(page):
    everything = page.run(VISIBLE % "task")
    check(set(everything) == set(TASKS), f"cards of {set(everything)}")
    for task in TASKS:
        choose(page, "cards", "task", task)
        shown = page.run(VISIBLE % "task")
        check(shown and set(shown) == {task} and len(shown) == everything.count(task), f"filter {task} shows {shown}")
    choose(page, "cards", "task", "")
    choose(page, "cards", "kind", "worst")
    kinds = page.run(VISIBLE % "kind")
    check(kinds and all("worst" in kind.split() for kind in kinds), f"filter worst shows {kinds}")
    choose(page, "cards", "kind", "")
    choose(page, "cards", "sort", "score down")
    scores = [float(v) for v in page.run(VISIBLE % "score")]
    check(scores == sorted(scores, reverse=True), f"cards are not sorted: {scores}")
    choose(page, "cards", "text", "hostile.invalid quoted")
    few = page.run(VISIBLE % "task")
    check(0 < len(few) <= len(everything), "words do not filter")
    choose(page, "cards", "text", "no such words anywhere")
    check(page.run(VISIBLE % "task") == [], "words that are nowhere show cards")
    check(page.run("document.querySelector('form[data-list=cards] output').textContent").startswith("0 of"), "the count is not 0")
    choose(page, "cards", "text", "")
    page.run("document.querySelector('#items details').open = true")
    total = page.run("document.querySelectorAll('#all-items tr').length")
    choose(page, "all-items", "task", "region_perception")
    shown = page.run("[...document.querySelectorAll('#all-items tr')].filter(r => !r.hidden).length")
    check(0 < shown < total, f"{shown} of {total} rows")


LUMINANCE = """(() => { const rgb = s => s.match(/[\\d.]+/g).slice(0, 3).map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
  const light = c => 0.2126 * c[0] + 0.7152 * c[1] + 0.0722 * c[2]; const style = getComputedStyle(document.body);
  return [light(rgb(style.color)), light(rgb(style.backgroundColor))]; })()"""


def check_themes(page):
    backgrounds = {}
    for theme in ("light", "dark"):
        page.theme(theme)
        ink, backgrounds[theme] = page.run(LUMINANCE)
        contrast = (max(ink, backgrounds[theme]) + 0.05) / (min(ink, backgrounds[theme]) + 0.05)
        check(contrast > 7, f"{theme}: contrast {contrast:.1f}")
    check(backgrounds["light"] > 0.5 > backgrounds["dark"], f"backgrounds {backgrounds}")


def main():
    if not chromium.find():
        print("skipped: no Chromium was found (Debian's package chromium has it)")
        sys.exit(77)
    shots = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory(prefix="mose_report_") as name, chromium.page() as page:
        report = make(pathlib.Path(name))
        page.resize(1280)
        page.open(report.as_uri())
        check_sorting(page)
        check_filtering(page)
        check_themes(page)
        for width in (1280, 420):
            page.resize(width)
            wide = page.run("document.documentElement.scrollWidth")
            check(wide <= width, f"the page is {wide} px wide on a screen of {width}")
        check(page.run("typeof window.bad") == "undefined", "text of the data was run as a script")
        check(page.run("document.querySelectorAll('img[onerror], article script').length") == 0, "text of the data became markup")
        check(page.run("document.querySelectorAll('#cards symbol, svg.definitions symbol').length") > 0, "no pictures")
        check(page.problems == [], f"console: {page.problems}")
        outside = [url for url in page.requests if url != report.as_uri() and not url.startswith("data:")]
        check(outside == [], f"requests: {outside}")
        if shots:
            shots.mkdir(parents=True, exist_ok=True)
            (shots / "report.html").write_text(report.read_text())
            for theme in ("light", "dark"):
                for width in (1280, 420):
                    page.theme(theme)
                    page.resize(width)
                    page.open(report.as_uri())
                    (shots / f"{theme}_{width}.png").write_bytes(page.screenshot())
    print("report_page: passed")


if __name__ == "__main__":
    main()
