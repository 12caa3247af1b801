#!/usr/bin/env bash
# The main job end to end on the procedural set: scenes, skill dataset, dense training, upcycling, router
# pretraining, fine-tuning of three arms at the same activated size, prediction, the blind control, scores
# and a report. About 10 minutes on two cores after set-up, under 3 GiB of memory.
#
#   scripts/demo.sh              everything, into runs/demo (an earlier one is replaced)
#   scripts/demo.sh --no-setup   without scripts/setup.sh first
#   scripts/demo.sh --quick      every part on a few scenes for a few steps: shows that it works, and nothing more
#
# environment: MOSE_BIN (programs, build/bin), MOSE_DEMO_OUT (results, runs/demo)
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
setup=1 train=4000 val=64 test=100 base_steps=() arm_steps=() router_steps=()
for option in "$@"; do
  case $option in
    --no-setup) setup=0 ;;
    --quick)
      train=24 val=6 test=4
      base_steps=(--set stages.see.steps=3 --set stages.dense.steps=3)
      arm_steps=(--set stages.finetune.steps=2)
      router_steps=(--set stages.router.steps=10 --set stages.router.cache_tokens=2000)
      ;;
    *) sed -n '2,11p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
  esac
done
((setup)) && scripts/setup.sh
bin=${MOSE_BIN:-build/bin} out=${MOSE_DEMO_OUT:-runs/demo} recipes=configs/recipes/demo
started=$SECONDS
step() { printf '\n[demo %3d s] %s\n' $((SECONDS - started)) "$*"; }

# Only an earlier demo is replaced.
if [[ -e $out && ! -e $out/.demo ]]; then
  echo "demo: $out holds something else than a demo; it stays. Set MOSE_DEMO_OUT to another folder" >&2
  exit 2
fi
rm -rf "$out"
mkdir -p "$out"
touch "$out/.demo"

step "drawing scenes in CODA-LM's layout"
"$bin"/mose-data scenes --out "$out/coda" --train $train --val $val --test $test --seed 1

step "preparing the skill dataset"
for split in Train Val; do
  "$bin"/mose-data prepare --coda "$out/coda" --split $split --out "$out/data" --no-multi-turn
done

step "dense stage: the tower learns to see, then the whole model learns to answer"
"$bin"/mose-train --config $recipes/base.json --set data.dataset="$out/data" "${base_steps[@]}" --run "$out/base"

for arm in skill topk dense; do
  step "arm $arm: from the dense model to its fine-tuned form"
  steps=("${arm_steps[@]}")
  [[ $arm == skill ]] && steps+=("${router_steps[@]}")
  "$bin"/mose-train --config $recipes/arm.json --config $recipes/arm_$arm.json --set data.dataset="$out/data" \
    --set init_from="$out/base/model" "${steps[@]}" --run "$out/$arm"
done

for arm in skill topk dense; do
  step "arm $arm: answers, the blind control, scores"
  "$bin"/mose-infer predict --model "$out/$arm/model" --coda "$out/coda" --split Test --out "$out/$arm/answers"
  "$bin"/mose-infer predict --model "$out/$arm/model" --coda "$out/coda" --split Test --out "$out/$arm/blind" --blind
  "$bin"/mose-eval score --coda "$out/coda" --split Test --answers "$out/$arm/answers" \
    --blind-answers "$out/$arm/blind" --judge facts,text --out "$out/$arm/scores" > "$out/$arm/scores.md"
done

step "scores and report"
.venv/bin/python scripts/demo_scores.py "$out" $((SECONDS - started))
"$bin"/mose-eval report --spec "$out/report.json" --out "$out/report.html"
printf '\nReport: %s\nScores: %s\nAfter set-up the demo took %d min %02d s.\n' "$(realpath "$out/report.html")" \
  "$(realpath "$out/scores.json")" $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
