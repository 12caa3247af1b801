#!/usr/bin/env bash
# The main job end to end on the procedural set: scenes, skill dataset, dense training, upcycling, router
# pretraining, fine-tuning of three arms at the same activated size, prediction, the blind control, scores
# and a report. About 15 minutes on two cores after set-up, under 6 GiB of memory.
#
#   scripts/demo.sh            everything, into runs/demo (an earlier one is replaced)
#   scripts/demo.sh --no-setup without scripts/setup.sh first
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
case ${1:-} in
  "") scripts/setup.sh ;;
  --no-setup) ;;
  *) sed -n '2,8p' "$0" | sed 's/^# \{0,1\}//'; exit 2 ;;
esac
bin=${MOSE_BIN:-build/bin} out=${MOSE_DEMO_OUT:-runs/demo} recipes=configs/recipes/demo
started=$SECONDS
step() { printf '\n[demo %3d s] %s\n' $((SECONDS - started)) "$*"; }

rm -rf "$out"
mkdir -p "$out"

step "drawing scenes in CODA-LM's layout"
"$bin"/mose-data scenes --out "$out/coda" --train "${MOSE_DEMO_TRAIN:-2000}" --val 64 --test 100 --seed 1

step "preparing the skill dataset"
for split in Train Val; do
  "$bin"/mose-data prepare --coda "$out/coda" --split $split --out "$out/data" --no-multi-turn
done

step "dense stage: the tower learns to see, then the whole model learns to answer"
"$bin"/mose-train --config $recipes/base.json --set data.dataset="$out/data" --run "$out/base"

for arm in skill topk dense; do
  step "arm $arm: from the dense model to its fine-tuned form"
  "$bin"/mose-train --config $recipes/arm.json --config $recipes/arm_$arm.json --set data.dataset="$out/data" \
    --set init_from="$out/base/model" --run "$out/$arm"
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
printf '\nReport: %s\nScores: %s\nAfter set-up the demo took %d min %02d s.\n' "$PWD/$out/report.html" \
  "$PWD/$out/scores.json" $(((SECONDS - started) / 60)) $(((SECONDS - started) % 60))
