#!/usr/bin/env bash
# Measures ours against the peers on this machine; under 15 minutes on two idle cores. Needs scripts/setup.sh --tests.
# The first call builds llama.cpp for this CPU before, which takes about as long again.
#
#   scripts/benchmarks.sh                    all: docs/results/bench_cpu.{json,md}, growth.{svg,md} and README.md's table
#   scripts/benchmarks.sh claims             one, as mose-bench names it: docs/results/bench_claims.{json,md}
#   scripts/benchmarks.sh trainer --quiet    further arguments go to mose-bench
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

[[ -x build/bin/mose-bench ]] || { echo "benchmarks: build/bin/mose-bench is not there; run scripts/setup.sh --tests" >&2; exit 1; }
what=all
if (($#)) && [[ $1 != -* ]]; then
  what=$1
  shift
fi
name=${what/#all/cpu}
# Peers that nothing else needs stay out of .venv. Of llama.cpp its library alone is built.
peers=$PWD/build/bench-peers
export CMAKE_ARGS="-DLLAVA_BUILD=OFF -DLLAMA_BUILD_TOOLS=OFF -DLLAMA_CURL=OFF${CMAKE_ARGS:+ $CMAKE_ARGS}"
.venv/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --upgrade --target "$peers" \
  -r third_party/python-peers.txt
# The files are written before a comparison that could not be made is reported as status 1.
status=0
PYTHONPATH=$peers${PYTHONPATH:+:$PYTHONPATH} build/bin/mose-bench "$what" "$@" --json "docs/results/bench_$name.json" \
  --markdown "docs/results/bench_$name.md" || status=$?
if [[ $what == all ]]; then
  scripts/bench/readme_table.py
  scripts/bench/growth_plot.py
fi
exit "$status"
