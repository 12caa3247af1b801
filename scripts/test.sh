#!/usr/bin/env bash
# Sets the project up and runs every test. Ends with CTest's summary.
#
#   scripts/test.sh                every test
#   scripts/test.sh --asan         the same with address, leak and undefined-behaviour sanitizers
#   scripts/test.sh -R unit.core   further arguments go to ctest
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
started=$SECONDS
folder=build setup=(--tests)
if [[ ${1:-} == --asan ]]; then
  shift
  folder=build-asan setup+=(--preset asan)
  # LibTorch's libraries define some globals twice.
  export ASAN_OPTIONS=detect_leaks=1:detect_odr_violation=0 UBSAN_OPTIONS=print_stacktrace=1
fi
scripts/setup.sh "${setup[@]}"
echo "[test] set-up and build took $((SECONDS - started)) s; running the tests"
# Two tests run at once, and each may start several processes: threads of LibTorch's that wait for each other
# by spinning would take the cores from them. Tests of threads set their own number.
export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}
exec .venv/bin/ctest --test-dir "$folder" --output-on-failure --no-tests=error -j 2 "$@"
