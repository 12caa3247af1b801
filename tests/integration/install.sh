#!/usr/bin/env bash
# Installs the build into a fresh folder, then configures, builds and runs a project that finds mose there,
# first with components that need no LibTorch, then (where mose has them) with one that does.
#   install.sh CMAKE LIBTORCH(0|1) SANITIZED(0|1)
set -euo pipefail
cmake=$1 libtorch=$2 sanitized=$3
here=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"$cmake" --install "$MOSE_BINARY_DIR" --prefix "$work/prefix" >"$work/install.log" || { cat "$work/install.log"; exit 1; }

fail() { echo "install: $*" >&2; exit 1; }
[[ -d $work/prefix/share/mose/configs ]] || fail "share/mose/configs is missing"
for program in "$MOSE_BIN"/mose-*; do
  installed=$work/prefix/bin/$(basename "$program")
  [[ -x $installed ]] || fail "$(basename "$program") was not installed"
  (cd / && "$installed" --version >/dev/null) || fail "$installed does not start"
done

flags=""
((sanitized)) && flags="-fsanitize=address,undefined"
build() {
  local name=$1
  shift
  "$cmake" -G Ninja -S "$here/consumer" -B "$work/$name" -DCMAKE_PREFIX_PATH="$work/prefix" \
    -DCMAKE_CXX_FLAGS="$flags" "$@" >"$work/$name.log" 2>&1 &&
    "$cmake" --build "$work/$name" >>"$work/$name.log" 2>&1 || { cat "$work/$name.log"; fail "the $name project does not build"; }
}

build base
grep -q "^LIBTORCH_ROOT" "$work/base/CMakeCache.txt" && fail "the base project looked for LibTorch"
[[ $("$work/base/consumer") == "0.25 vru" ]] || fail "the base project printed $("$work/base/consumer")"
if ((libtorch)); then
  build libtorch -DCONSUMER_LIBTORCH=ON
  [[ $("$work/libtorch/consumer_libtorch") == "2 sequences of 5 rows" ]] || fail "the LibTorch project's output is wrong"
fi
if "$cmake" -G Ninja -S "$here/consumer" -B "$work/unknown" -DCMAKE_PREFIX_PATH="$work/prefix" \
  -DCONSUMER_COMPONENT=no_such_component >"$work/unknown.log" 2>&1; then
  fail "an unknown component was found"
fi
echo "installed, found and linked"
