#!/usr/bin/env bash
# Configures and builds the programs that need no LibTorch with MOSE_LIBTORCH=OFF, in a folder of their own,
# and checks that they load no library of it. ccache makes this quick after a normal build.
#   without_libtorch.sh CMAKE
set -euo pipefail
cmake=$1
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
{
  "$cmake" -G Ninja -S "$MOSE_SOURCE_DIR" -B "$work" -DMOSE_LIBTORCH=OFF -DMOSE_TESTS=OFF -DCMAKE_BUILD_TYPE=Release &&
    "$cmake" --build "$work" -j 2
} >"$work.log" 2>&1 || { cat "$work.log"; rm -f "$work.log"; exit 1; }
rm -f "$work.log"

for bin in "$MOSE_BIN" "$work/bin"; do
  for program in mose-data mose-eval; do
    [[ -x $bin/$program ]] || { echo "without_libtorch: $bin/$program was not built" >&2; exit 1; }
    libraries=$(ldd "$bin/$program")
    if grep -E 'torch|libc10|libcuda|libcublas' <<<"$libraries"; then
      echo "without_libtorch: $bin/$program links the libraries above" >&2
      exit 1
    fi
    [[ $("$bin/$program" --version) == "$program "* ]] || { echo "without_libtorch: $program --version" >&2; exit 1; }
  done
done
echo "built and linked without LibTorch"
