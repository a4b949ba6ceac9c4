"""Holds what came of llama.cpp's server tests directly against what came of them through the gateway.

    table.py DIRECT THROUGH EXPECTED

DIRECT and THROUGH are what shim.py has written, EXPECTED is expected.toml. Ends with 1 where a test that passes directly does not pass
through the gateway, or was never answered by it, unless it is known why; and where that is known of a test that passes."""

import json
import sys
import tomllib
from collections import Counter


def read(path):
    with open(path, encoding="utf-8") as file:
        return {one["test"]: one for one in map(json.loads, file)}


def wrong_with(test, through):
    """`None`: it has passed, and through the gateway."""
    if test not in through:
        return "did not run"
    one = through[test]
    if one["found"] != "passed":
        return one["why"].replace("\n", " ")[:300]
    # The shim notes what it has sent there; an answer that names its server, or was refused by the gateway, came from there.
    if not one["asked"]:
        return "passed, but nothing was asked through the gateway"
    return None


def main(direct, through, expected):
    direct, through = read(direct), read(through)
    with open(expected, "rb") as file:
        known = tomllib.load(file)
    passed = {test for test, one in direct.items() if one["found"] == "passed"}
    counted = sorted(test for test in passed if direct[test]["asked"])
    wrong = {test: why for test in counted if (why := wrong_with(test, through)) is not None}
    print(f"{'file':38}{'tests':>7}{'directly':>10}{'listed':>8}{'through':>9}{'known':>7}{'wrong':>7}")
    rows = {}
    for test in direct:
        row = rows.setdefault(test.split("::")[0].removeprefix("unit/"), Counter())
        row["tests"] += 1
        row["directly"] += test in passed
        row["listed"] += test in counted
        row["through"] += test in counted and test not in wrong
        row["known"] += test in wrong and test in known
        row["wrong"] += test in wrong and test not in known
    columns = (("tests", 7), ("directly", 10), ("listed", 8), ("through", 9), ("known", 7), ("wrong", 7))
    for file, row in rows.items():
        print(f"{file:38}" + "".join(f"{row[name]:>{width}}" for name, width in columns))
    whole = sum(rows.values(), Counter())
    print(f"{'all':38}" + "".join(f"{whole[name]:>{width}}" for name, width in columns))
    asked = [one for test in counted if test in through for one in through[test]["asked"]]
    paths = Counter(one["path"].removeprefix("/v1") for one in asked)
    answered = sum(1 for one in asked if one["server"])
    print(f"\n{len(asked)} requests through the gateway, {answered} of them answered by the server of the test:")
    print(", ".join(f"{path} {number}" for path, number in paths.most_common()))
    for test, why in wrong.items():
        print(f"\n{'known' if test in known else 'WRONG'}: {test}")
        print(f"  {why}")
        if test in known:
            print(f"  because: {known[test]}")
    # A reason that holds no more has to go; of a test that was not run, or does not pass directly, nothing is known.
    outdated = [test for test in known if test in counted and test not in wrong]
    for test in outdated:
        print(f"\nWRONG: {test}\n  passes, and expected.toml says that it does not")
    if not counted:
        print("\nWRONG: no test passes directly and asks a path of the gateway")
    return 1 if outdated or not counted or any(test not in known for test in wrong) else 0


sys.exit(main(*sys.argv[1:]))
