#!/usr/bin/env bash
# Measures ours against the peers on this machine and writes docs/results/bench_cpu.{json,md}, growth.{svg,md} and the
# table in README.md; under 15 minutes on two idle cores. Needs scripts/setup.sh --tests.
#
#   scripts/benchmarks.sh                   every benchmark
#   scripts/benchmarks.sh tokenizer image   these; further arguments go to mose-bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -x build/bin/mose-bench ]] || { echo "benchmarks: build/bin/mose-bench is not there; run scripts/setup.sh --tests" >&2; exit 1; }
# Peers that nothing else needs stay out of .venv.
peers=$PWD/build/bench-peers
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$peers" \
  -r third_party/python-peers.txt
# The files are written before a comparison that could not be made is reported as status 1.
status=0
PYTHONPATH=$peers${PYTHONPATH:+:$PYTHONPATH} build/bin/mose-bench "${@:-all}" --json docs/results/bench_cpu.json \
  --markdown docs/results/bench_cpu.md || status=$?
scripts/bench/readme_table.py
scripts/bench/growth_plot.py
exit "$status"
