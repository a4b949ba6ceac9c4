"""The real Codex and the real Claude Code, with the configuration that `pilothouse connect` writes, at one task each before each real
server. A small model answers badly: it is looked at the wire. They run where nothing but loopback is reachable, without a
login, with the home folder of the engine, which is a temporary one: there `connect` writes.

`JUDGES_AGENTS`: the folder where npm has put them. `JUDGES_PROGRAM`: pilothouse. `JUDGES_ARTEFACTS`: where the shape of what they
asked is kept."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from judged import ROOT, asks, on_each_server
from recorder import Recorder
from wire import events, message, response

AGENTS = Path(os.environ["JUDGES_AGENTS"]) / "node_modules"
HERE = Path(__file__).parent
# A prompt of thousands of tokens on two noisy processors.
TASK_S = int(os.environ.get("JUDGES_TASK_S", "240"))
TASK = "Say hello."
# A network of its own: Linux has that, and not every system lets everybody make one.
APART = ("unshare", "--map-root-user", "--net")
NO_CALLER = "Ollama cannot be told to prefer a word, and a small model does not call by itself"


def can_be_apart():
    return bool(shutil.which("unshare")) and subprocess.run([*APART, "true"], capture_output=True).returncode == 0


class Agent:
    def pilothouse(self, *call):
        command = [os.environ["JUDGES_PROGRAM"], *call, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)
        return json.loads(done.stdout)

    def connect(self, *more):
        return self.pilothouse("connect", self.app, *more)

    def runs(self, command, before):
        """Runs the agent apart. Returns what it said, how it ended, and the recorder."""
        port = ROOT.rsplit(":", 1)[1]
        report = Path(self.folder, "report.json")
        ours, theirs = socket.socketpair()
        apart = [*APART, sys.executable, HERE / "apart.py", str(theirs.fileno()), port, report]
        # Nothing of the person who runs this: no key, no proxy, no home.
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TERM") if name in os.environ}
        started = subprocess.Popen(
            [*apart, *command],
            env=kept | {"HOME": os.environ["HOME"], "TMPDIR": self.folder},
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
            text=True,
        )
        theirs.close()
        # Open until the end: with it ends the agent.
        self.addCleanup(ours.close)
        ours.settimeout(30)
        _, handed, _, _ = socket.recv_fds(ours, 1, 1)
        recorder = Recorder(socket.socket(fileno=handed[0]), before)
        try:
            said, _ = started.communicate(timeout=TASK_S)
            end = json.loads(report.read_text())
        except subprocess.TimeoutExpired:
            os.killpg(started.pid, signal.SIGKILL)
            said, _ = started.communicate(timeout=30)
            end = {"code": f"not done within {TASK_S} s"}
        finally:
            recorder.close()
            self.keep(recorder, locals().get("end"), locals().get("said"))
        return said, end, recorder

    def keep(self, recorder, end, said):
        told = {"agent": self.client, "end": end, "requests": recorder.kept}
        for kept in recorder.kept:
            kinds = re.findall(r"^event: (.*)$", recorder.answer_of(kept).decode(errors="replace"), re.M)
            kept["events"] = [f"{kinds.count(kind)} {kind}" for kind in dict.fromkeys(kinds)]
        folder = Path(os.environ["JUDGES_ARTEFACTS"])
        name = f"{self.app}-{self.server}-{self._testMethodName.removeprefix('test_')}"
        (folder / f"{name}.json").write_text(json.dumps(told, indent=1) + "\n")
        (folder / f"{name}.txt").write_text(said or "")

    def judged(self, name, before=lambda kept: None):
        """Connects the agent, runs it, and holds each answer that it got against its dialect. Returns these, put together."""
        if not can_be_apart():
            self.skipTest("no network of its own can be made here")
        model = ("--model", name)
        wrote = self.connect(*model, "--write")
        self.addCleanup(self.connect, "--undo")
        self.assertTrue(wrote["files"][0]["written"])
        self.assertEqual(self.connect(*model)["state"], "set_up")
        said, end, recorder = self.runs(self.command(), before)
        refused = [kept for kept in recorder.kept if not 200 <= (kept["status"] or 0) < 300]
        self.assertEqual(refused, [], said)
        questions = [kept for kept in recorder.kept if kept["asked"].split("?")[0] == f"POST {self.path}"]
        self.assertTrue(questions, said)
        answers = []
        for kept in questions:
            self.assertIs(kept.get("whole"), True, kept)
            answers.append(type(self).told(self, events(self, recorder.answer_of(kept))))
            self.assertEqual((answers[-1]["model"], kept["body"]["model"]), (name, name))
        self.assertEqual(end["code"], 0, said)
        return answers, recorder

    def loops(self):
        """Its first question goes to a model that calls its tool, what comes behind the call to one that does not: the alias that it
        asks by is given another meaning in between."""
        if "callers" not in self.models:
            self.skipTest(NO_CALLER)
        seen = []

        def before(kept):
            if kept["asked"].startswith(f"POST {self.path}"):
                seen.append(kept)
                if len(seen) == 2:
                    self.pilothouse("alias", "agents", "--to", self.models["agent"])

        self.pilothouse("alias", "agents", "--to", self.models["callers"] + self.tool)
        answers, recorder = self.judged("agents", before)
        self.assertGreaterEqual(len(answers), 2)
        self.assertIn(self.result, json.dumps(seen[1]["body"]))

    def setUp(self):
        kept = tempfile.TemporaryDirectory()
        self.addCleanup(kept.cleanup)
        self.folder = kept.name


@on_each_server
class RealCodex(Agent):
    client, app, path, told = "Codex", "codex", "/v1/responses", response
    tool, result = "exec_command", "function_call_output"

    def command(self):
        program = AGENTS / "@openai/codex/bin/codex.js"
        return ["node", program, "exec", "--skip-git-repo-check", "--ephemeral", "--sandbox", "read-only", "--json", TASK]

    @asks("responses", "one task")
    def test_task(self):
        self.judged(self.models["agent"])

    @asks("responses", "one task, the model calls a tool")
    def test_loop(self):
        self.loops()


@on_each_server
class RealClaudeCode(Agent):
    client, app, path, told = "Claude Code", "claude-code", "/v1/messages", message
    tool, result = "Bash", "tool_result"

    def command(self):
        # npm installs the one of this system.
        (program,) = AGENTS.glob("@anthropic-ai/claude-code-*/claude")
        return [program, "-p", TASK, "--output-format", "stream-json", "--verbose"]

    @asks("messages", "one task")
    def test_task(self):
        self.judged(self.models["agent"])

    @asks("messages", "one task, the model calls a tool")
    def test_loop(self):
        self.loops()
