#!/usr/bin/env bash
# Sets the project up from a bare Debian 12: packages, a Python environment with LibTorch, the build.
# Safe to run again at any time; what is already there is left alone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
root=$PWD

usage() {
  cat <<'TEXT'
usage: scripts/setup.sh [--tests] [--no-build] [--preset NAME]

  --tests        also build the tests, and install what they import (the full torch wheel)
  --no-build     stop after the packages and the Python environment
  --preset NAME  cpu, cuda, debug or asan; by default cuda where nvcc or an NVIDIA GPU is found, else cpu

environment:
  MOSE_FORCE_CPU=1  take the CPU form although a CUDA toolkit or a GPU is there
  MOSE_JOBS=N       parallel compilations (by default the cores, but at most one for each 2.5 GB of memory)
  PYTHON=PATH       the Python (3.11 or later) that .venv is made with

Programs are then in build/bin (build-debug/bin, build-asan/bin with those presets).
TEXT
}

tests=0 build=1 preset=""
while (($#)); do
  case $1 in
    --tests) tests=1 ;;
    --no-build) build=0 ;;
    --preset) preset=${2:?--preset needs a name}; shift ;;
    -h | --help) usage; exit 0 ;;
    *) echo "setup: unknown option $1 (see --help)" >&2; exit 2 ;;
  esac
  shift
done

say() { printf '[setup] %s\n' "$*"; }
die() { printf '[setup] error: %s\n' "$*" >&2; exit 1; }
started=$SECONDS
step_started=$SECONDS
step() { step_started=$SECONDS; say "$1"; }
step_done() { say "  done in $((SECONDS - step_started)) s"; }

# ---- Debian packages ---------------------------------------------------------------------------
missing_packages() {
  local package
  for package in $(grep -v '^#' third_party/apt-packages.txt); do
    [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] || echo "$package"
  done
}

# apt_get ARGUMENTS: as root, tried three times.
apt_get() {
  local try
  for try in 1 2 3; do
    "${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Acquire::Retries=3 "$@" && return
    say "  apt-get $1 failed (try $try of 3)"
    sleep $((try * 3))
  done
  return 1
}

command -v dpkg-query >/dev/null || die "this is not a Debian system (no dpkg-query); install what \
third_party/README.md lists, then configure with: cmake --preset cpu && cmake --build build"
mapfile -t missing < <(missing_packages)
if ((${#missing[@]} == 0)); then
  say "Debian packages: all there"
else
  step "Debian packages: installing ${missing[*]}"
  as_root=()
  if ((EUID != 0)); then
    command -v sudo >/dev/null || die "these Debian packages are missing: ${missing[*]}. Installing them \
needs root, and there is no sudo. As root: apt-get install ${missing[*]}"
    as_root=(sudo)
  fi
  apt_get update || die "the package lists could not be fetched (apt-get update); run this again"
  apt_get install -y --no-install-recommends "${missing[@]}" >/dev/null ||
    die "apt-get could not download or install: $(missing_packages | tr '\n' ' '); its messages are above. Run this again"
  step_done
fi

# ---- What this machine has -----------------------------------------------------------------------
export PATH=$root/.venv/bin:$PATH
nvcc="" gpu=0
if [[ ${MOSE_FORCE_CPU:-0} != 1 ]]; then
  nvcc=$(command -v nvcc || true)
  [[ -z $nvcc && -x /usr/local/cuda/bin/nvcc ]] && nvcc=/usr/local/cuda/bin/nvcc
  if compgen -G '/dev/nvidia[0-9]*' >/dev/null || [[ -e /proc/driver/nvidia/version ]]; then gpu=1; fi
fi
if [[ -z $preset ]]; then
  if [[ -n $nvcc || $gpu == 1 ]]; then preset=cuda; else preset=cpu; fi
fi
say "CUDA compiler: ${nvcc:-none}; NVIDIA GPU: $( ((gpu)) && echo yes || echo no); preset: $preset"

# ---- Python environment ------------------------------------------------------------------------
version_check='import sys; sys.exit(sys.version_info < (3, 11))'
if ! .venv/bin/python -c "$version_check" 2>/dev/null; then
  python=${PYTHON:-python3}
  "$python" -c "$version_check" || die "$python is $("$python" -V 2>&1); Python 3.11 or later is needed (PYTHON=PATH chooses one)"
  step "Python environment: making .venv with $("$python" -V)"
  rm -rf .venv
  "$python" -m venv .venv || die "$python cannot make an environment; on Debian: apt-get install python3-venv"
  step_done
fi

# pip_install LIST: installs one of third_party's lists unless its stamp says that it is done. The
# stamp holds the list's hash, so a changed list is installed again.
pip_install() {
  local name=$1 stamp=.venv/.mose-$1 log=.venv/pip-$1.log hash try
  hash=$(sha256sum <"third_party/$name.txt")
  if [[ -f $stamp && $(<"$stamp") == "$hash" ]]; then
    say "$name: all there"
    return
  fi
  step "$name: installing $(grep -vc '^#' "third_party/$name.txt") Python packages"
  for try in 1 2 3; do
    # Large downloads are named as they begin; the whole output is in the log.
    if .venv/bin/python -m pip install --no-deps --retries 5 --timeout 60 --progress-bar off \
      --disable-pip-version-check -r "third_party/$name.txt" 2>&1 | tee "$log" |
      { grep --line-buffered -E '^ +Downloading .*[0-9]{2}\.[0-9] MB|[0-9]{3}\.[0-9] MB|GB\)' || true; }; then
      echo "$hash" >"$stamp"
      step_done
      return
    fi
    say "  pip failed (try $try of 3) at: $(failed_package "$log")"
    sleep $((try * 3))
  done
  grep -E '^(ERROR|error)' "$log" >&2 || tail -n 5 "$log" >&2
  die "could not download or install $(failed_package "$log"). Run this again; packages that were \
already fetched come from pip's cache. Full output: $log"
}

# The package that pip was at when it stopped.
failed_package() {
  local named
  named=$(grep -oE '(No matching distribution found for|requirement) [A-Za-z0-9_.=-]+' "$1" | tail -n 1 | awk '{print $NF}')
  [[ -n $named ]] || named=$(grep -E '^Collecting ' "$1" | tail -n 1 | awk '{print $2}')
  echo "${named:-the first package of the list}"
}

stamped() { [[ -f .venv/.mose-$1 && $(<".venv/.mose-$1") == "$(sha256sum <"third_party/$1.txt")" ]]; }

pip_install python-requirements
if [[ $preset == cuda || $tests == 1 ]] || stamped python-torch-full; then
  pip_install python-torch-full
else
  pip_install python-torch-small
fi
if [[ $preset == cuda && -z $nvcc ]]; then
  pip_install python-cuda-compiler
  nvcc=$(compgen -G "$root/.venv/lib/python3*/site-packages/nvidia/cu13/bin/nvcc" | head -n 1 || true)
  [[ -n $nvcc ]] || die "the package nvidia-cuda-nvcc holds no nvcc; remove .venv and run this again"
  # The runtime's wheel has the library without the name that the linker looks for.
  ln -sf libcudart.so.13 "${nvcc%/bin/nvcc}/lib/libcudart.so"
fi
((build)) || { say "ready in $((SECONDS - started)) s (not built: --no-build)"; exit 0; }

# ---- Build -------------------------------------------------------------------------------------
[[ $preset == cuda ]] && export CUDACXX=$nvcc
memory_jobs=$(awk '/MemAvailable/ {print int($2 / 2500000)}' /proc/meminfo)
jobs=${MOSE_JOBS:-$(((memory_jobs < $(nproc) ? memory_jobs : $(nproc))))}
((jobs > 0)) || jobs=1

case $preset in debug | asan) folder=build-$preset ;; *) folder=build ;; esac
step "configuring: cmake --preset $preset"
mkdir -p "$folder"
if ! cmake --preset "$preset" -DMOSE_TESTS=ON >"$folder/configure.log" 2>&1; then
  cat "$folder/configure.log" >&2
  die "CMake could not configure $folder; its messages are above"
fi
step_done
targets=(programs)
((tests)) && targets=(all)
step "building ${targets[*]} with $jobs jobs into $folder/bin"
export NINJA_STATUS='[%f/%t, %e s] '
cmake --build "$folder" -j "$jobs" --target "${targets[@]}" || die "the build failed; the compiler's messages are above"
step_done
say "ready in $((SECONDS - started)) s: $(cd "$folder/bin" 2>/dev/null && echo mose-* || true)"
