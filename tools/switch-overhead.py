#!/usr/bin/env python3
"""What a switch costs beside its server: 30 alternations between two real models, on llama-server and on Ollama.

Usage: switch-overhead.py PROGRAM EMBEDDED OLLAMA [ROUNDS]

The cost is the time from the click to the commit, less the load and the first token as the switch itself reports them: reaching the
server, planning, the journal. Printed are the medians and the largest of each; the goal is a median of 50 ms.

Then the same while one client asks the active model one short question after the other. Both models fit, so nobody should
notice: printed is the longest that one of its requests waited inside Pilothouse (queue and load, by the records), with the goal
of 100 ms, and beside it the median and the longest answer as the client saw it, in which the machine loads a model too.
"""

import json
import os
import pathlib
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

HERE = pathlib.Path(__file__).parent


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def variant(source, to, context):
    """The same weights as another model, as the storms make it: it says that it was trained for other so many tokens."""
    data = bytearray(source.read_bytes())
    key = b"llama.context_length"
    key = len(key).to_bytes(8, "little") + key + (4).to_bytes(4, "little")
    at = data.find(key) + len(key)
    data[at : at + 4] = context.to_bytes(4, "little")
    to.write_bytes(data)


class Client(threading.Thread):
    """Asks the active model without a pause. Keeps how long each answer took, who gave it, and what failed."""

    def __init__(self, address):
        super().__init__(daemon=True)
        self.address, self.over = address, threading.Event()
        self.took, self.by, self.failed = [], set(), []

    def run(self):
        body = {"model": "active", "messages": [{"role": "user", "content": "Say yes."}], "max_tokens": 1}
        headers = {"content-type": "application/json"}
        while not self.over.is_set():
            begun = time.monotonic()
            try:
                request = urllib.request.Request(f"{self.address}/chat/completions", json.dumps(body).encode(), headers)
                with urllib.request.urlopen(request, timeout=120) as answer:
                    self.by.add(json.load(answer)["model"])
                self.took.append((time.monotonic() - begun) * 1000)
            except OSError as error:
                self.failed.append(str(error))


def newest(ask):
    """The number of the newest record."""
    return max((one["id"] for one in ask("traffic", "--limit", "1").get("requests", [])), default=0)


def main():
    program, embedded, ollama = sys.argv[1:4]
    rounds = int(sys.argv[4]) if len(sys.argv) > 4 else 30
    home = pathlib.Path(tempfile.mkdtemp(prefix="overhead-"))
    models = home / "data/models"
    models.mkdir(parents=True)
    (home / "config").mkdir()
    (home / "ollama").mkdir()
    source = pathlib.Path(embedded) / "models/SmolLM2-135M-Instruct.Q4_1.gguf"
    for number, name in enumerate(["alpha", "beta"]):
        variant(source, models / f"{name}.gguf", (1 << 24) + number)
    port = free_port()
    (home / "config/settings.toml").write_text(
        "[gateway]\nport = 0\n[servers.ollama]\n"
        f'program = "{ollama}"\naddress = "http://127.0.0.1:{port}"\nmodels_dir = "{home}/ollama"\n'
        "[servers.lmstudio]\nenabled = false\n"
    )
    environment = {**os.environ, "PILOTHOUSE_HOME": str(home), "PILOTHOUSE_EMBEDDED": embedded}

    def ask(*words):
        done = subprocess.run([program, *words, "--json"], env=environment, capture_output=True, text=True, timeout=300)
        return json.loads(done.stdout or "{}")

    engine = subprocess.Popen([program, "serve"], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            status = ask("status")
            states = {one["id"]: one["state"] for one in status.get("servers", [])}
            if status.get("active") and states.get("ollama") == "ready":
                break
            time.sleep(0.2)
        for name in ["alpha", "beta"]:
            file = str(models / f"{name}.gguf")
            subprocess.run([HERE / "ollama-model.sh", f"http://127.0.0.1:{port}", f"{name}:1", file], check=True, stdout=subprocess.DEVNULL)
        print(f"{'server':14}{'switches':>9}{'median ms':>11}{'largest ms':>11}{'load ms':>9}{'token ms':>9}")
        for server, names in [("llama-server", ["alpha", "beta"]), ("ollama", ["alpha:1", "beta:1"])]:
            ask("switch", names[0], "--server", server)
            costs, loads, tokens = [], [], []
            for number in range(rounds):
                report = ask("switch", names[(number + 1) % 2], "--server", server)
                if report.get("outcome") != "committed":
                    print(f"{server}: a switch was {report.get('outcome') or report.get('error')}")
                    continue
                own = [step["ms"] for step in report["steps"] if step["name"] not in ("load", "prove", "unload_previous")]
                costs.append(sum(own))
                loads.append(report["load_ms"] or 0)
                tokens.append(report["first_token_ms"] or 0)
            middle = statistics.median
            print(f"{server:14}{len(costs):>9}{middle(costs):>11.0f}{max(costs):>11}{middle(loads):>9.0f}{middle(tokens):>9.0f}")
        print("With one client that asks the active model without a pause:")
        print(f"{'server':14}{'switches':>9}{'answers':>9}{'failed':>8}{'waited ms':>11}{'median ms':>11}{'longest ms':>12}")
        for server, names in [("llama-server", ["alpha", "beta"]), ("ollama", ["alpha:1", "beta:1"])]:
            ask("switch", names[0], "--server", server)
            known = newest(ask)
            client = Client(ask("status")["gateway"])
            client.start()
            done = 0
            for number in range(max(rounds // 3, 2)):
                done += ask("switch", names[(number + 1) % 2], "--server", server).get("outcome") == "committed"
                time.sleep(0.5)
            client.over.set()
            client.join()
            waits = []
            records = ask("traffic", "--limit", "1000").get("requests", [])
            for one in records:
                if one["id"] > known and one["total_ms"] is not None:
                    waits.append((one["queue_ms"] or 0) + (one["load_ms"] or 0))
            took = client.took
            print(
                f"{server:14}{done:>9}{len(took):>9}{len(client.failed):>8}{max(waits, default=0):>11.0f}"
                f"{statistics.median(took):>11.0f}{max(took):>12.0f}"
            )
            for words in client.failed[:3]:
                print(f"  failed: {words}")
    finally:
        engine.terminate()
        engine.wait(30)
        shutil.rmtree(home, ignore_errors=True)


main()
