"""What the judges written in Python share: the servers that are asked, and the note of each verdict for docs/clients.md.

`JUDGES_GATEWAY`: the address, with `/v1`. `JUDGES_MODELS`: as JSON, by server, the names of its models for `chat`, `tools` and
`embeddings`. `JUDGES_FOUND`: a file for the verdicts, a JSON document a line."""

import functools
import json
import os
import sys
import unittest

GATEWAY = os.environ["JUDGES_GATEWAY"]
ROOT = GATEWAY.removesuffix("/v1")
SERVERS = json.loads(os.environ["JUDGES_MODELS"])
KEY = "none-is-needed"
# Two noisy processors: no single answer takes longer, and a hang fails.
LIMIT_S = 60
TOO_LONG = "word " * 1_500
# Told to a model, it can only be answered in one of two ways, whatever the model is worth.
SCHEMA = {
    "type": "object",
    "properties": {"answer": {"type": "string", "enum": ["yes", "no"]}},
    "required": ["answer"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
# The smallest picture.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="


class Lacks(unittest.SkipTest):
    """It does not do what it should, and it is known why."""


def note(client, dialect, what, server, verdict):
    row = {"client": client, "dialect": dialect, "what": what, "server": server, "verdict": verdict}
    with open(os.environ["JUDGES_FOUND"], "a", encoding="utf-8") as file:
        file.write(json.dumps(row) + "\n")


def asks(dialect, what):
    """A test of this cell of the table: what comes of it is noted."""

    def wrap(test):
        @functools.wraps(test)
        def judged(self):
            verdict = "no"
            try:
                test(self)
                verdict = "yes"
            except Lacks as reason:
                verdict = f"no: {reason}"
                raise
            except unittest.SkipTest as reason:
                verdict = f"left out: {reason}"
                raise
            finally:
                note(self.client, dialect, what, self.server, verdict)

        return judged

    return wrap


def on_each_server(cases):
    """Makes a `TestCase` for each server of a class with the tests of one client."""
    module = sys.modules[cases.__module__]
    for server, models in SERVERS.items():
        name = f"{cases.__name__}On{server.title().replace('-', '')}"
        made = type(name, (cases, unittest.TestCase), {"server": server, "models": models, "maxDiff": None})
        made.__module__ = cases.__module__
        setattr(module, name, made)
    return cases
