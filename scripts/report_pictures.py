#!/usr/bin/env python3
"""Photographs a report for the README: its scores down to the facts, and the item that it calls the worst description.

usage: report_pictures.py REPORT.html OUT_DIR      writes report.png and report_item.png; needs Chromium and Pillow
"""
import io
import pathlib
import sys

from PIL import Image

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))
import chromium  # noqa: E402

WIDTH = 1120
BOX = "(e => { const r = e.getBoundingClientRect(); return [r.left + scrollX, r.top + scrollY, r.right + scrollX, r.bottom + scrollY]; })"
ITEM = "[...document.querySelectorAll('#items article')].find(e => /^general perception/.test(e.textContent.trim()) && /worst/.test(e.textContent))"


def picture(page, path, left, top, right, bottom):
    image = Image.open(io.BytesIO(page.screenshot(clip=(left, top, right, bottom)))).convert("RGB")
    image.save(path, optimize=True)
    print(f"{path}: {image.width} x {image.height}")


def main():
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    report, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
    if not report.is_file():
        sys.exit(f"report_pictures: {report}: no such file")
    if not chromium.find():
        sys.exit("report_pictures: no Chromium was found (Debian's package chromium has it)")
    with chromium.page() as page:
        page.resize(WIDTH)
        page.theme("light")
        page.open(report.resolve().as_uri())
        head = page.run(f"{BOX}(document.querySelector('h1'))")
        # The charts of facts are what stands between that heading and the next.
        end = page.run(f"{BOX}([...document.querySelectorAll('#scores h3')].find(e => e.textContent.trim() == 'Facts').nextElementSibling.nextElementSibling)")
        picture(page, out / "report.png", 0, head[1] - 50, WIDTH, end[3] + 8)
        if not page.run(f"Boolean({ITEM})"):
            sys.exit(f"report_pictures: {report}: none of its items is a worst general perception")
        box = page.run(f"{BOX}({ITEM})")
        picture(page, out / "report_item.png", box[0] - 24, box[1] - 8, box[2] + 24, box[3] + 8)


main()
