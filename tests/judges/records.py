"""Holds the records of all that the judges asked (`traffic --json`) against what they are: every request came to its end."""

import json
import sys
from collections import Counter
from pathlib import Path

requests = json.loads(Path(sys.argv[1]).read_text())["requests"]
states = Counter((row["dialect"], row["server"], row["state"], row["status"]) for row in requests)
for row, number in sorted(states.items(), key=str):
    print(number, *row)
# A stream may be left behind its last event, and not every one tells its tokens.
whole = [row for row in requests if not row["streamed"]]
wrong = [row for row in whole if row["state"] != ("done" if row["status"] == 200 else "failed")]
told = [row for row in whole if row["state"] == "done" and row["dialect"] in ("chat", "responses", "messages")]
silent = [row for row in told if row["tokens_in"] is None]
if not told or wrong or silent:
    sys.exit(f"of {len(requests)} requests {len(wrong)} did not end as they were answered, {len(silent)} have no tokens: {(wrong + silent)[:3]}")
