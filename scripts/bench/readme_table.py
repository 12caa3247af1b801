#!/usr/bin/env python3
"""Writes README.md's table of ratios from docs/results/bench_cpu.json, between its two marks; --check only compares.

A line is one work against one peer, over all shapes that were measured; of these the largest noise.
Rows of growth and of the machine are left out.
"""

import argparse
import json
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BEGIN, END = "<!-- ratios: scripts/bench/readme_table.py -->", "<!-- end of ratios -->"


def span(values):
    low, high = f"{min(values):.2f}", f"{max(values):.2f}"
    return low if low == high else f"{low} to {high}"


def table(rows):
    groups = {}
    for row in rows:
        if not row["name"].startswith(("machine:", "growth:")):
            groups.setdefault((row["name"], row["peer"]), []).append(row)
    lines = ["| Work | Against | Ratio | Noise |", "|---|---|---:|---:|"]
    for (name, peer), group in groups.items():
        shapes = f" ({len(group)} shapes)" if len(group) > 1 else ""
        lines.append(f"| {name}{shapes} | {peer} | {span([row['ratio'] for row in group])} | {100 * max(row['noise'] for row in group):.1f} % |")
    return "\n".join(lines)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--readme", type=pathlib.Path, default=ROOT / "README.md")
    arguments.add_argument("--rows", type=pathlib.Path, default=ROOT / "docs/results/bench_cpu.json")
    arguments.add_argument("--check", action="store_true", help="exit 1 where the table is not that of the rows; nothing is written")
    args = arguments.parse_args()
    text = args.readme.read_text()
    if text.count(BEGIN) != 1 or text.count(END) != 1:
        sys.exit(f"readme_table: {args.readme}: expected one line {BEGIN} and one line {END}")
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    wanted = f"{before}{BEGIN}\n{table(json.loads(args.rows.read_text()))}\n{END}{after}"
    if wanted == text:
        return
    if args.check:
        sys.exit(f"readme_table: {args.readme}: the table is not that of {args.rows}; run scripts/bench/readme_table.py")
    args.readme.write_text(wanted)


if __name__ == "__main__":
    main()
