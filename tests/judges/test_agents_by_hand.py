"""Whole tool loops with the requests of Claude Code, Codex and VS Code, written by hand after what is known of their wire: what only
agents send stands in them, and nothing of it may be refused. A small model calls no tool by itself. llama-server can be told to prefer
a word, and there are models with a word that is a call (see shallow.py): there the model calls. Else the calls are put into the
history by hand."""

import json
import unittest

import zstandard
from judged import KEY, asks, on_each_server
from wire import events, message, response, send

NO_CALLER = "Ollama cannot be told to prefer a word, and a small model does not call by itself"
SHORT = {"type": "string", "maxLength": 12}
SHELL = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "properties": {"command": SHORT, "description": SHORT},
    "required": ["command"],
    "additionalProperties": False,
}
EPHEMERAL = {"cache_control": {"type": "ephemeral", "ttl": "5m", "scope": "global"}}
REMINDER = "<system-reminder>\nThis may or may not be of use.\n</system-reminder>"


class ByHand:
    def caller(self, tool):
        """A model that answers with a call of this tool."""
        if "callers" not in self.models:
            raise unittest.SkipTest(NO_CALLER)
        return self.models["callers"] + tool

    def streamed(self, path, headers, body, packed=None):
        status, told, raw = send("POST", path, headers, packed or json.dumps(body).encode())
        self.assertEqual(status, 200, raw[:500])
        # Where a model is loaded first, the headers come before it is known who answers.
        by = told.get("x-pilothouse-server", self.server)
        self.assertEqual((told["content-type"].split(";")[0], by), ("text/event-stream", self.server))
        return events(self, raw)


@on_each_server
class ClaudeCode(ByHand):
    client = "Claude Code (by hand)"

    def headers(self, **more):
        return {
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": "claude-cli/2.1.332 (external, cli)",
            "anthropic-version": "2023-06-01",
            "anthropic-beta": "claude-code-20250219,interleaved-thinking-2025-05-14,context-management-2025-06-27,of-tomorrow-2099-01-01",
            "anthropic-dangerous-direct-browser-access": "true",
            "x-app": "cli",
            "x-claude-code-session-id": "6b1d0c52-0000-4000-8000-000000000000",
            "x-claude-code-agent-id": "a1",
            "x-stainless-lang": "js",
            "x-stainless-retry-count": "0",
            "x-stainless-timeout": "600",
            **(more or {"authorization": f"Bearer {KEY}"}),
        }

    def body(self, *turns, **more):
        return {
            "model": self.models["agent"],
            "messages": [
                {"role": "user", "content": [
                    {"type": "text", "text": REMINDER},
                    {"type": "text", "text": "List the files of this folder.", **EPHEMERAL},
                ]},
                *turns,
            ],
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.0a1; cc_entrypoint=cli; cch=0a1b2;"},
                {"type": "text", "text": "You are Claude Code, a tool for the command line.", **EPHEMERAL},
                {"type": "text", "text": "\nBe short.", **EPHEMERAL},
            ],
            "tools": [
                {"name": "Bash", "description": "Runs a command.", "input_schema": SHELL, "eager_input_streaming": True},
                {"name": "Read", "description": "Reads a file.", "strict": False, "defer_loading": False, **EPHEMERAL,
                 "input_schema": {"type": "object", "properties": {"file_path": SHORT}, "required": ["file_path"]}},
                {"type": "web_search_20250305", "name": "web_search", "max_uses": 8},
            ],
            "metadata": {"user_id": '{"device_id":"d","account_uuid":"","session_id":"s"}'},
            "max_tokens": 64,
            "thinking": {"type": "adaptive"},
            "context_management": {"edits": [{"type": "clear_thinking_20251015", "keep": "all"}]},
            "output_config": {"effort": "high"},
            "of_tomorrow": {"anything": True},
            "stream": True,
            **more,
        }  # fmt: skip

    def ask(self, *turns, headers=None, **more):
        body = self.body(*turns, **more)
        said = message(self, self.streamed("/v1/messages?beta=true", headers or self.headers(), body))
        self.assertEqual(said["model"], body["model"])
        return said

    def results(self, *results):
        """As Claude Code goes on behind calls: the results, a reminder, and a message of the system in the middle."""
        shown = [{"type": "tool_result", "tool_use_id": call, **result} for call, result in results]
        shown[-1] |= EPHEMERAL
        return [
            {"role": "user", "content": [*shown, {"type": "text", "text": REMINDER}]},
            {"role": "system", "content": "<total_tokens>12000 tokens left</total_tokens>"},
        ]

    def final(self, *turns):
        """No tool may be called any more, so that the loop has an end."""
        said = self.ask(*turns, tool_choice={"type": "none"})
        self.assertTrue(all(block["type"] in ("text", "thinking") for block in said["content"]), said)
        self.assertIn(said["stop_reason"], ("end_turn", "max_tokens"))

    @asks("messages", "tool loop, the model calls")
    def test_calls(self):
        turns, ids = [], set()
        for _ in range(2):
            said = self.ask(*turns, model=self.caller("Bash"))
            self.assertEqual([block["type"] for block in said["content"]], ["tool_use"])
            self.assertEqual(said["stop_reason"], "tool_use")
            call = said["content"][0]
            self.assertEqual((call["name"], call["input"]), ("Bash", {"command": "ls", "description": "x"}))
            ids.add(call["id"])
            turns.append({"role": "assistant", "content": said["content"]})
            turns += self.results((call["id"], {"content": "a.txt\nb.txt"}))
        self.assertEqual(len(ids), 2)
        self.final(*turns)

    @asks("messages", "tool loop, calls put in by hand")
    def test_by_hand(self):
        first = self.ask()
        # What it said itself is sent back as well, if that was no call.
        own = [block for block in first["content"] if block["type"] == "text" and block["text"]]
        calls = [
            {"type": "tool_use", "id": "toolu_01A", "name": "Bash", "input": {"description": "x", "command": "ls"}},
            {"type": "tool_use", "id": "toolu_01B", "name": "Read", "input": {"file_path": "no"}, "caller": {"type": "direct"}},
        ]
        thought = {"type": "thinking", "thinking": "I look.", "signature": "pilothouse"}
        results = self.results(
            ("toolu_01A", {"content": [{"type": "text", "text": "a.txt"}, {"type": "text", "text": "b.txt"}]}),
            ("toolu_01B", {"content": "<tool_use_error>File does not exist.</tool_use_error>", "is_error": True}),
        )
        turns = [{"role": "assistant", "content": [thought, *own, *calls]}, *results]
        self.ask(*turns, headers=self.headers(**{"x-api-key": KEY, "anthropic-version": "2026-10-21"}))
        self.final(*turns)

    @asks("messages", "count_tokens")
    def test_count(self):
        body = self.body()
        for key in ("max_tokens", "stream", "of_tomorrow"):
            del body[key]
        path, told = "/v1/messages/count_tokens?beta=true", []
        for headers in (self.headers(), self.headers(**{"x-api-key": KEY})):
            status, _, raw = send("POST", path, headers, json.dumps(body).encode())
            self.assertEqual(status, 200, raw[:500])
            told.append(json.loads(raw)["input_tokens"])
        self.assertEqual(told[0], told[1])
        self.assertGreater(told[0], 60)

    @asks("messages", "a side question to claude-*haiku*")
    def test_background(self):
        body = {
            "model": self.models["background"],
            "messages": [{"role": "user", "content": [{"type": "text", "text": "List the files."}]}],
            "system": [
                {"type": "text", "text": "x-anthropic-billing-header: cc_version=2.1.332.0a1; cch=0a1b2;"},
                {"type": "text", "text": "Give this conversation a title."},
            ],
            "tools": [],
            "metadata": {"user_id": "u"},
            "max_tokens": 16,
            "thinking": {"type": "disabled"},
            "temperature": 1,
            "output_config": {"format": {"type": "json_schema", "schema": {
                "type": "object", "properties": {"title": SHORT}, "required": ["title"], "additionalProperties": False}}},
            "stream": True,
        }  # fmt: skip
        said = message(self, self.streamed("/v1/messages?beta=true", self.headers(), body))
        self.assertEqual(said["model"], body["model"])


@on_each_server
class Codex(ByHand):
    client = "Codex (by hand)"
    headers = {
        "accept": "text/event-stream",
        "content-type": "application/json",
        "authorization": f"Bearer {KEY}",
        "user-agent": "codex_exec/0.171.0 (Linux; x86_64)",
        "originator": "codex_exec",
        "version": "0.171.0",
        "session-id": "0199-a",
        "thread-id": "0199-a",
        "x-client-request-id": "0199-a",
        "x-codex-window-id": "0199-a:0",
        "x-codex-turn-metadata": '{"session_id":"0199-a"}',
        "openai-beta": "responses=experimental",
    }
    shell = {"type": "function", "name": "exec_command", "description": "Runs a command.", "strict": False,
             "parameters": {"type": "object", "properties": {"cmd": SHORT}, "required": ["cmd"], "additionalProperties": False}}  # fmt: skip
    patch = {"type": "custom", "name": "apply_patch", "description": "Edits files.",
             "format": {"type": "grammar", "syntax": "lark", "definition": "start: begin_patch hunk+ end_patch"}}  # fmt: skip
    calendar = {"type": "namespace", "name": "mcp__calendar", "description": "Calendar", "tools": [
        {"type": "function", "name": "create_event", "description": "Makes an event.", "strict": False, "defer_loading": False,
         "parameters": {"type": "object", "properties": {"title": SHORT}, "required": ["title"]}}]}  # fmt: skip

    def body(self, *turns, **more):
        def said(role, text):
            return {"type": "message", "role": role, "content": [{"type": "input_text", "text": text}]}

        return {
            "model": self.models["agent"],
            "instructions": "You are Codex, a coding agent. Be short.",
            "input": [
                {"type": "additional_tools", "role": "developer", "tools": [self.patch, self.calendar]},
                said("developer", "<permissions instructions>read only</permissions instructions>"),
                said("user", "<environment_context><cwd>/src</cwd></environment_context>"),
                said("user", "List the files of this folder."),
                *turns,
            ],
            "tools": [self.shell, {"type": "web_search", "external_web_access": False}],
            "tool_choice": "auto",
            "parallel_tool_calls": True,
            "reasoning": {"effort": "medium", "summary": "auto"},
            "store": False,
            "stream": True,
            "include": ["reasoning.encrypted_content"],
            "service_tier": "auto",
            "prompt_cache_key": "0199-a",
            "text": {"verbosity": "low"},
            "client_metadata": {"x-codex-installation-id": "0"},
            "of_tomorrow": {"anything": True},
            # Codex names no limit; a small model needs one.
            "max_output_tokens": 64,
            **more,
        }

    def ask(self, *turns, packed=False, **more):
        body, headers, bytes_ = self.body(*turns, **more), self.headers, None
        if packed:
            headers = headers | {"content-encoding": "zstd"}
            bytes_ = zstandard.compress(json.dumps(body).encode())
        said = response(self, self.streamed("/v1/responses", headers, body, bytes_))
        self.assertEqual((said["model"], said["store"]), (body["model"], body["store"]))
        self.assertEqual(said["tools"], body["tools"], "told back as they were sent")
        return said

    def final(self, *turns, **more):
        said = self.ask(*turns, tool_choice="none", **more)
        self.assertTrue({item["type"] for item in said["output"]} <= {"message", "reasoning"}, said["output"])

    def goes_round(self, function, kind, output, **is_):
        """A call, its output, and the answer behind it."""
        said = self.ask(model=self.caller(function))
        self.assertEqual((said["status"], [item["type"] for item in said["output"]]), ("completed", [kind]))
        call = said["output"][0]
        self.assertEqual({key: call.get(key) for key in is_}, is_)
        self.final(call, {"type": output, "call_id": call["call_id"], "output": "Exit code: 0\nOutput:\na.txt"})

    @asks("responses", "tool loop, the model calls")
    def test_calls(self):
        told = {"name": "exec_command", "namespace": None, "arguments": '{"cmd": "ls"}'}
        self.goes_round("exec_command", "function_call", "function_call_output", **told)

    @asks("responses", "tool of a namespace, the model calls")
    def test_namespace(self):
        told = {"name": "create_event", "namespace": "mcp__calendar", "arguments": '{"title": "x"}'}
        self.goes_round("mcp__calendar__create_event", "function_call", "function_call_output", **told)

    @asks("responses", "freeform tool, the model calls")
    def test_freeform(self):
        told = {"name": "apply_patch", "input": "*** Begin Patch", "arguments": None}
        self.goes_round("apply_patch", "custom_tool_call", "custom_tool_call_output", **told)

    @asks("responses", "tool loop, calls put in by hand")
    def test_by_hand(self):
        first = self.ask()
        own = [item for item in first["output"] if item["type"] == "message"]
        turns = [
            {"type": "reasoning", "summary": [], "content": None, "encrypted_content": "gAAAA"},
            *own,
            {"type": "function_call", "name": "exec_command", "arguments": '{"workdir":"/",  "cmd":"ls"}', "call_id": "call_1"},
            {"type": "custom_tool_call", "status": "completed", "call_id": "call_2", "name": "apply_patch", "input": "*** Begin Patch"},
            {"type": "function_call", "namespace": "mcp__calendar", "name": "create_event", "arguments": '{"title":"x"}', "call_id": "call_3"},
            {"type": "function_call_output", "call_id": "call_1", "output": "Exit code: 0\nOutput:\na.txt"},
            {"type": "custom_tool_call_output", "call_id": "call_2", "output": "Done!"},
            {"type": "function_call_output", "call_id": "call_3", "output": [{"type": "input_text", "text": "made"}]},
            {"type": "of_tomorrow", "id": "t_1", "anything": True},
        ]  # fmt: skip
        self.ask(*turns)
        self.final(*turns, packed=True)

    @asks("responses", "an id that was not to be stored")
    def test_not_stored(self):
        said = self.ask(tool_choice="none", max_output_tokens=8)
        body = self.body(previous_response_id=said["id"])
        status, _, raw = send("POST", "/v1/responses", self.headers, json.dumps(body).encode())
        self.assertEqual(status, 404, raw[:500])
        self.assertEqual(json.loads(raw)["error"]["code"], "previous_response_not_found")


@on_each_server
class VsCode(ByHand):
    """Its own models over Responses: what was said stays here, and the next turn names it."""

    client = "VS Code (by hand)"

    @asks("responses", "tool loop by previous_response_id")
    def test_previous(self):
        headers = {"content-type": "application/json", "authorization": f"Bearer {KEY}", "user-agent": "GitHubCopilotChat/0.42.0"}
        body = {
            "model": self.caller("exec_command"),
            "input": [
                {"role": "system", "content": [{"type": "input_text", "text": "You are a programmer."}]},
                {"role": "user", "content": [{"type": "input_text", "text": "Read a."}]},
            ],
            "tools": [{"type": "function", "name": "exec_command", "description": "Runs.", "strict": False,
                       "parameters": {"type": "object", "properties": {"cmd": SHORT}, "required": ["cmd"]}}],
            "tool_choice": "auto",
            "max_output_tokens": 64,
            "store": True,
            "stream": True,
            "truncation": "disabled",
            "include": ["reasoning.encrypted_content"],
        }  # fmt: skip
        first = response(self, self.streamed("/v1/responses", headers, body))
        (call,) = first["output"]
        self.assertEqual((call["type"], call["name"]), ("function_call", "exec_command"))
        result = [{"type": "function_call_output", "call_id": call["call_id"], "output": "It is empty."}]
        body |= {"input": result, "previous_response_id": first["id"], "tool_choice": "none"}
        second = response(self, self.streamed("/v1/responses", headers, body))
        self.assertEqual(second["previous_response_id"], first["id"])
        self.assertGreater(second["usage"]["input_tokens"], first["usage"]["input_tokens"])
        self.assertEqual([item["type"] for item in second["output"]], ["message"])
