#!/usr/bin/env bash
# The GPU's tests and benchmarks on a machine that has a GPU, torch, transformers and this source tree, but not what building takes.
#
#   scripts/bench/gpu.sh pack [FILE]          here: builds, for sm_90, and packs programs and the libraries that they need beside
#                                             LibTorch into FILE (build/gpu.tar.gz); needs a build by the preset `cuda`
#   scripts/bench/gpu.sh run DIR [ARGUMENTS]  there: the tests that need a GPU, then mose-bench gpu, in under 9 minutes together;
#                                             writes DIR/{tests.txt,gpu.json,gpu.md,log.txt}. ARGUMENTS go to mose-bench
#
# MOSE_GPU_PACK names another FILE for `run`, PYTHON another Python than python3, SECONDS_IN_ALL another time than 530.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/../.."
root=$PWD
tests=(test_nn test_moe test_optim test_infer test_train_gpu)

usage() { sed -n '2,10p' "${BASH_SOURCE[0]}" | sed 's/^# \{0,1\}//' >&2; exit 2; }

pack() {
  local file=${1:-build/gpu.tar.gz} folder library program
  grep -qs '^MOSE_CUDA:.*=ON' build/CMakeCache.txt || { echo "gpu: build/ has no CUDA; configure with: cmake --preset cuda" >&2; exit 1; }
  cmake --build build --target "${tests[@]}" mose-bench-gpu
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' RETURN
  mkdir "$folder/bin" "$folder/lib"
  cp "${tests[@]/#/build/bin/}" build/bin/mose-bench-gpu "$folder/bin"
  for program in "$folder"/bin/*; do
    if ldd "$program" | grep -q libopencv; then
      echo "gpu: $(basename "$program") needs OpenCV, which the other machine lacks: keep what reads pictures out of it" >&2
      exit 1
    fi
    # Not what every Linux has, nor what comes with torch.
    while read -r library; do cp -Ln "$library" "$folder/lib"; done < <(
      ldd "$program" | awk '$3 ~ /^\// { print $3 }' | grep -vE '/(libc|libm|libdl|librt|libpthread|libgcc_s|libstdc\+\+)\.so' |
        grep -vE '/(torch|nvidia)/|libcudart')
    strip "$program"
  done
  mkdir -p "$(dirname "$file")"
  tar -C "$folder" -czf "$file" .
  echo "gpu: $file, $(du -m "$file" | cut -f1) MiB, with $(ls "$folder/lib" | wc -l) libraries"
}

run() {
  (($#)) && [[ $1 != -* ]] || usage
  local out=$1 file=${MOSE_GPU_PACK:-build/gpu.tar.gz} python=${PYTHON:-python3} in_all=${SECONDS_IN_ALL:-530} folder torch test left status=0
  shift
  [[ -f $file ]] || { echo "gpu: $file is not there; make it with: scripts/bench/gpu.sh pack $file" >&2; exit 1; }
  mkdir -p "$out"
  folder=$(mktemp -d)
  trap 'rm -rf "$folder"' RETURN
  tar -C "$folder" -xzf "$file"
  torch=$("$python" -c 'import importlib.util as u, os; print(os.path.dirname(u.find_spec("torch").origin))')
  # Not by LD_LIBRARY_PATH, which the peers would inherit: their Python has libraries of its own.
  local start=(/lib64/ld-linux-x86-64.so.2 --library-path "$folder/lib:$torch/lib$(printf ':%s' "$torch"/../nvidia/*/lib)")
  export MOSE_CONFIGS=$root/configs
  : >"$out/tests.txt"
  for test in "${tests[@]}"; do
    left=$((in_all - SECONDS))
    ((left > 0)) || break
    echo "== $test" >>"$out/tests.txt"
    timeout "$((left < 90 ? left : 90))" "${start[@]}" "$folder/bin/$test" --gtest_filter='*Gpu*' >>"$out/tests.txt" 2>&1 ||
      { status=1; echo "gpu: $test failed (status $?): $out/tests.txt" >&2; }
  done
  grep -cE '^\[       OK \]' "$out/tests.txt" | sed 's/$/ GPU tests passed/' || true
  grep -E '^\[  (FAILED  |SKIPPED )\] ' "$out/tests.txt" | sort -u || true
  left=$((in_all - SECONDS > 10 ? in_all - SECONDS : 10))
  # On its time-out mose-bench stops at the next row; rows that are there are in gpu.json.
  timeout -s INT -k 10 "$left" "${start[@]}" "$folder/bin/mose-bench-gpu" gpu --budget "$((left > 40 ? left - 30 : 10))" --python "$python" \
    --json "$out/gpu.json" --markdown "$out/gpu.md" "$@" 2> >(tee "$out/log.txt" >&2) || status=1
  return "$status"
}

case ${1:-} in
  pack) pack "${@:2}" ;;
  run) run "${@:2}" ;;
  *) usage ;;
esac
