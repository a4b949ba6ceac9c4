"""Adds up what the test runners counted and prints one line. Tests that printed `skipped: …` count as skipped."""

import re
import sys

passed = failed = skipped = 0
for name in sys.argv[1:]:
    with open(name, encoding="utf-8", errors="replace") as file:
        text = re.sub(r"\x1b\[[0-9;]*m", "", file.read())
    # cargo test
    for good, bad, ignored in re.findall(r"test result: \w+\. (\d+) passed; (\d+) failed; (\d+) ignored", text):
        passed, failed, skipped = passed + int(good), failed + int(bad), skipped + int(ignored)
    # Vitest
    for line in re.findall(r"^\s*Tests\s+(.*)$", text, re.M):
        for number, word in re.findall(r"(\d+) (passed|failed|skipped|todo)", line):
            if word == "passed":
                passed += int(number)
            elif word == "failed":
                failed += int(number)
            else:
                skipped += int(number)
    # node --test
    for word, number in re.findall(r"^\W*(pass|fail|skipped) (\d+)$", text, re.M):
        if word == "pass":
            passed += int(number)
        elif word == "fail":
            failed += int(number)
        else:
            skipped += int(number)
    said = len(re.findall(r"^skipped: ", text, re.M))
    passed, skipped = passed - said, skipped + said
print(f"{passed} passed, {failed} failed, {skipped} skipped")
