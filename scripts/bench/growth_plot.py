#!/usr/bin/env python3
"""From the rows of mose-bench's growth in docs/results/bench_cpu.json: growth.svg, one log-log panel a series, and growth.md,
the table with each series' exponent p in time ~ size^p, fitted by least squares to the logarithms, over all sizes and between
the two largest."""

import argparse
import html
import json
import math
import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
WIDTH, HEIGHT, LEFT, TOP, ACROSS, DOWN = 420, 300, 64, 44, 330, 200


def series_of(rows):
    series = {}
    for row in rows:
        if row["name"].startswith("growth: "):
            series.setdefault(row["name"].removeprefix("growth: "), []).append(row)
    return {name: sorted(group, key=lambda row: row["size"]) for name, group in series.items()}


def slope(points):
    xs, ys = [math.log(x) for x, _ in points], [math.log(y) for _, y in points]
    x0, y0 = sum(xs) / len(xs), sum(ys) / len(ys)
    return sum((x - x0) * (y - y0) for x, y in zip(xs, ys)) / sum((x - x0) ** 2 for x in xs)


def sentence(name, points):
    axis, whole, last = name.rsplit(" by ", 1)[1], slope(points), slope(points[-2:])
    return f"{name.split(' by ')[0]}: time grows as {axis}^{whole:.2f}, between the two largest sizes as {axis}^{last:.2f}."


def panel(name, points, x0, y0):
    (low_x, high_x), (low_y, high_y) = ((min(v), max(v)) for v in zip(*points))
    low_y, high_y = 10 ** math.floor(math.log10(low_y)), 10 ** math.ceil(math.log10(high_y) + 1e-9)

    def place(x, y):
        return (x0 + LEFT + ACROSS * math.log(x / low_x) / math.log(high_x / low_x),
                y0 + TOP + DOWN * (1 - math.log(y / low_y) / math.log(high_y / low_y)))

    out = [f'<text x="{x0 + LEFT}" y="{y0 + 24}" font-weight="bold">{html.escape(name)}: exponent {slope(points):.2f}</text>']
    tick = low_y
    while tick <= high_y * 1.001:
        x, y = place(low_x, tick)
        out.append(f'<line x1="{x:.1f}" y1="{y:.1f}" x2="{x + ACROSS:.1f}" y2="{y:.1f}" stroke="#ddd"/>'
                   f'<text x="{x - 6:.1f}" y="{y + 4:.1f}" text-anchor="end">{tick:g} ms</text>')
        tick *= 10
    for size, _ in points:
        x, y = place(size, low_y)
        out.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{size}</text>')
    places = [place(*point) for point in points]
    out.append(f'<polyline fill="none" stroke="#1f6feb" stroke-width="2" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>')
    out += [f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="#1f6feb"/>' for x, y in places]
    return "\n".join(out)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--rows", type=pathlib.Path, default=ROOT / "docs/results/bench_cpu.json")
    arguments.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/results", help="folder of growth.svg and growth.md")
    args = arguments.parse_args()
    series = series_of(json.loads(args.rows.read_text()))
    if not series:
        print(f"growth_plot: {args.rows} has no rows of growth; nothing is written")
        return
    points = {name: [(row["size"], row["ours_ms"]) for row in group] for name, group in series.items()}
    high = HEIGHT * math.ceil(len(series) / 2)
    drawn = [panel(name, points[name], WIDTH * (i % 2), HEIGHT * (i // 2)) for i, name in enumerate(series)]
    args.out.joinpath("growth.svg").write_text(
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {2 * WIDTH} {high}" font-family="sans-serif" font-size="11">\n'
        f'<rect width="{2 * WIDTH}" height="{high}" fill="white"/>\n' + "\n".join(drawn) + "\n</svg>\n")
    text = ["# How time grows\n", "Made by `scripts/bench/growth_plot.py` from `bench_cpu.json`; the machine is that of `bench_cpu.md`.\n",
            "![Time against size, one panel a series](growth.svg)\n"]
    text += [f"- {sentence(name, points[name])}" for name in series]
    text += ["", "| Series | Size | ms | Against the smallest |", "|---|---:|---:|---:|"]
    for name, group in series.items():
        text += [f"| {name} | {row['size']} | {row['ours_ms']:.2f} | {row['ours_ms'] / group[0]['ours_ms']:.2f} |" for row in group]
    args.out.joinpath("growth.md").write_text("\n".join(text) + "\n")


if __name__ == "__main__":
    main()
