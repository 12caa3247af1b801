#!/usr/bin/env python3
"""Photographs a report for the README: its scores down to the facts, and the item that it calls the worst description.

usage: report_pictures.py REPORT.html OUT_DIR      writes report.png and report_item.png; needs Chromium
"""
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests/support"))
import chromium  # noqa: E402

WIDTH = 1120
TITLE = "document.querySelector('h1')"
# The charts of facts are what stands between that heading and the next.
FACTS = "[...document.querySelectorAll('#scores h3')].find(e => e.textContent.trim() == 'Facts')?.nextElementSibling.nextElementSibling"
ITEM = "[...document.querySelectorAll('#items article')].find(e => /^general perception/.test(e.textContent.trim()) && /worst/.test(e.textContent))"


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

        def box(element, what):
            sides = page.run(f"(e => {{ const r = e?.getBoundingClientRect(); return r && [r.left, r.top, r.right, r.bottom]; }})({element})")
            if not sides:
                sys.exit(f"report_pictures: {report}: it has no {what}")
            return sides

        _, top, _, _ = box(TITLE, "title")
        _, _, _, bottom = box(FACTS, "charts of facts")
        item = box(ITEM, "worst general perception among its items")
        (out / "report.png").write_bytes(page.screenshot((0, top - 50, WIDTH, bottom + 8)))
        (out / "report_item.png").write_bytes(page.screenshot((item[0] - 24, item[1] - 8, item[2] + 24, item[3] + 8)))


main()
