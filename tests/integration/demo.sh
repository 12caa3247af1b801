#!/usr/bin/env bash
# The demo's script from end to end, on a few scenes for a few steps: its files and their keys.
set -euo pipefail
cd "$MOSE_SOURCE_DIR"
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
MOSE_DEMO_OUT=$folder/demo bash scripts/demo.sh --no-setup --quick
.venv/bin/python - "$folder/demo" <<'PYTHON'
import json, pathlib, sys
demo = pathlib.Path(sys.argv[1])
arms = json.loads((demo / "scores.json").read_text())["arms"]
assert set(arms) == {"skill", "topk", "dense"}, arms.keys()
for name, arm in arms.items():
    for stage in ("describe", "reason", "plan"):
        assert 0 <= arm["facts"][stage]["f1"] <= 1 and 0 <= arm["blind_facts"][stage]["f1"] <= 1, (name, stage)
    assert arm["text"] and arm["activated_parameters"] > 0 and arm["train_seconds"] > 0, name
routers = arms["skill"]["activated_parameters"] - arms["dense"]["activated_parameters"]
assert 0 <= routers < 0.01 * arms["dense"]["activated_parameters"], routers
for key in ("stage_accuracy", "skill_accuracy"):
    assert {"before", "after"} <= set(arms["skill"]["routing"][key]), key
report = (demo / "report.html").read_text()
assert "<svg" in report and "base64" in report and "://" not in report.replace("http://www.w3.org", ""), "report.html"
PYTHON
echo "demo: passed"
