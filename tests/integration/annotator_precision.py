"""The data card's table is what the annotator does today on the sentences labelled by hand."""

import subprocess
import sys

from runs import ROOT, check

done = subprocess.run([sys.executable, ROOT / "scripts/annotator_precision.py"], capture_output=True, text=True, timeout=60)
check(done.returncode == 0 and done.stdout.count("\n") == 24, f"exit code {done.returncode}: {done.stdout}{done.stderr}")
check(done.stdout in (ROOT / "docs/data_card.md").read_text(),
      f"docs/data_card.md has another table than scripts/annotator_precision.py prints:\n{done.stdout}")
print("annotator precision: passed")
