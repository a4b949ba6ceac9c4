"""Adds up what the test runners counted and prints one line. Tests that printed `skipped: …` count as skipped. A second
line tells how many rows of tests/FAULTS.md were tested, once a log of the tests that they name is there. Behind it stands each test that failed, with what it said: whoever sees only the end of a long run
shall know what went wrong."""

import re
import sys
from pathlib import Path

TABLE = Path(__file__).parent.parent / "tests" / "FAULTS.md"
# The rows name tests of these programs.
OF_ROWS = ("faults", "journeys", "storms", "containers", "machines")
# With --nocapture such a line may stand behind what the runner has begun to write.
SKIPPED = re.compile(r"^(?:test \S+ \.\.\. |[.iF]+)?skipped: ", re.M)

UNITTEST = re.compile(r"^Ran (\d+) tests? in [\d.]+s\n\n(OK|FAILED)(.*)$", re.M)
UNITTEST_WORDS = ("failures|errors|unexpected successes", "skipped")


def results(text):
    """What cargo test said of each test, by its bare name: "ok", "FAILED", "ignored"; "skipped" when the test itself said
    so. And how many said so without it being told which. With one thread the word comes behind the test's own output."""
    words, at, unnamed = {}, None, 0
    for line in text.splitlines():
        if begun := re.match(r"test (?:\w+::)*(\w+) \.\.\. ?(.*)", line):
            at, line = begun.groups()
        if line.startswith("skipped: "):
            if at is None:
                unnamed += 1
            else:
                words[at] = "skipped"
        elif at is not None and (word := re.match(r"(ok|FAILED|ignored)(?:$|, )", line)):
            words.setdefault(at, word[1])
            at = None
    return words, unnamed


def rows_line(logs):
    rows = [line.rsplit("`", 2)[1] for line in TABLE.read_text().splitlines() if re.match(r"\| .*`.*`", line)]
    words, unnamed = {}, 0
    for name in OF_ROWS:
        more, without_name = results(logs.get(name, ""))
        words.update(more)
        unnamed += without_name
    said = [words.get(row) for row in rows]
    good, bad = max(0, said.count("ok") - unnamed), said.count("FAILED")
    line = f"faults: {len(rows)} rows of the table, {good} tests passed"
    if bad:
        line += f", {bad} failed"
    if rest := len(rows) - good - bad:
        line += f", {rest} not run"
    return line


def told(words):
    """Lines as one, the empty ones left out."""
    return " / ".join(line.strip() for line in words.splitlines() if line.strip())


def failures(text):
    """Tests that failed, each with the beginning of what it said."""
    found = []
    # cargo test
    said = {
        name: told(f"{words}\n{place}")
        for name, place, words in re.findall(
            r"^thread '(?:\w+::)*(\w+)'[^\n]* panicked at ([^\n]*):\n((?:(?!stack backtrace|note: |thread ').+\n){1,4})", text, re.M
        )
    }
    for name in dict.fromkeys(re.findall(r"^test (?:\w+::)*(\w+) \.\.\. FAILED", text, re.M)):
        found.append((name, said.get(name, "")))
    for name in dict.fromkeys(re.findall(r"^    (?:\w+::)*(\w+)$", text.rpartition("\nfailures:\n")[2], re.M)):
        if name not in dict(found):
            found.append((name, said.get(name, "")))
    # cargo test names what has run for long, and nothing more of what was ended with it.
    for name in dict.fromkeys(re.findall(r"^test (?:\w+::)*(\w+) has been running for over 60 seconds", text, re.M)):
        if not re.search(rf"^test (?:\w+::)*{name} \.\.\. (?:ok|FAILED)", text, re.M):
            found.append((name, "had not ended"))
    # Vitest
    found += [(line, "") for line in dict.fromkeys(re.findall(r"^ *FAIL +(.*)$", text, re.M))]
    # unittest
    for name, body in re.findall(r"^(?:ERROR|FAIL): (.*)\n-{70}\n((?:(?:Traceback| ).*\n)*.*)", text, re.M):
        found.append((name, body.rsplit("\n", 1)[-1]))
    # node --test: the innermost tests that failed, not the suites around them.
    for name, body in re.findall(r"^ *not ok \d+ - (.*)\n((?: .*\n)*?) *\.\.\.$", text, re.M):
        if "failureType: 'subtestsFailed'" not in body:
            error = re.search(r"^( *)error: (?:\|-\n)?((?:.*\n)(?:(?:\1 +.*)?\n)*)", body, re.M)
            place = re.search(r"stack: \|-\n *(.*)", body)
            found.append((name, told(error[2] if error else "") + (f" ({place[1]})" if place else "")))
    return found


passed = failed = skipped = 0
logs = {}
for name in sys.argv[1:]:
    with open(name, encoding="utf-8", errors="replace") as file:
        text = re.sub(r"\x1b\[[0-9;]*m", "", file.read())
    logs[Path(name).stem] = text
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
    # unittest
    for number, word, rest in UNITTEST.findall(text):
        bad, out = (sum(int(n) for n in re.findall(rf"(?:{kinds})=(\d+)", rest)) for kinds in UNITTEST_WORDS)
        passed, failed, skipped = passed + int(number) - bad - out, failed + bad, skipped + out
    said = len(SKIPPED.findall(text))
    passed, skipped = passed - said, skipped + said
print(f"{passed} passed, {failed} failed, {skipped} skipped")
if any(name in logs for name in OF_ROWS):
    print(rows_line(logs))
for name, text in logs.items():
    for test, words in failures(text)[:20]:
        print(f"failed: {name}: {test}" + (f": {words.strip()[:600]}" if words.strip() else ""))
