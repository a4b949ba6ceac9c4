#!/usr/bin/env python3
"""Holds estimates of memory against what models really take: before the first load, and after some.

    tools/residency.py [--servers llama-server,ollama] [--models FILE.gguf,…] [--contexts 2048,8192] [--parallel 1,4]
                       [--loads 3]

Reads the variables of tools/test-tools.sh (embedded server, Ollama); tools/lab-models.sh brings more models. Each model is
loaded so many times in each server and setting, and each time every request is filled to two thirds of its context. Prints a
table; nothing is asserted here.
"""

import argparse
import json
import os
import pathlib
import random
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "debug" / "pilothouse"
LIMIT_S = 600


def free_port():
    while True:
        port = random.randrange(15000, 32000)
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                return port


class Pilothouse:
    """One home; started anew for every setting."""

    def __init__(self, home, server, models):
        self.home, self.server, self.models = home, server, models
        self.environment = {**os.environ, "PILOTHOUSE_HOME": str(home), "HOME": str(home)}
        self.ollama_port = free_port()
        (home / "config").mkdir(parents=True)
        (home / "data" / "models").mkdir(parents=True)
        for model in models:
            os.symlink(model, home / "data" / "models" / model.name)

    def start(self, context, parallel):
        own, other = ("true", "false") if self.server == "llama-server" else ("false", "true")
        (self.home / "config" / "settings.toml").write_text(
            f"""[gateway]
port = 0
wait_s = 600
[servers.llama-server]
enabled = {own}
context = {context}
parallel = {parallel}
[servers.ollama]
enabled = {other}
program = {json.dumps(os.environ["PILOTHOUSE_TEST_OLLAMA"])}
address = "http://127.0.0.1:{self.ollama_port}"
models_dir = {json.dumps(str(self.home / "ollama-models"))}
context = {context}
parallel = {parallel}
[servers.lmstudio]
enabled = false
"""
        )
        self.engine = subprocess.Popen(
            [PROGRAM, "serve"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        self.until(lambda: self.server_state() == "ready", "the server to be ready")

    def stop(self):
        self.engine.terminate()
        self.engine.wait()

    def ask(self, *arguments):
        done = subprocess.run([PROGRAM, *arguments, "--json"], env=self.environment, capture_output=True, text=True)
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return {"error": done.stderr}

    def until(self, found, what):
        deadline = time.monotonic() + LIMIT_S
        while time.monotonic() < deadline:
            answer = found()
            if answer:
                return answer
            time.sleep(0.2)
        sys.exit(f"waited in vain for {what}")

    def server_state(self):
        servers = self.ask("status").get("servers", [])
        return next((one["state"] for one in servers if one["id"] == self.server), None)

    def name(self, model):
        return model.stem if self.server == "llama-server" else model.stem.lower() + ":measured"

    def listed(self, name):
        return any(one["name"] == name for one in self.ask("models").get("models", []))

    def make_known(self, model):
        name = self.name(model)
        if self.server == "ollama" and not self.listed(name):
            address = f"http://127.0.0.1:{self.ollama_port}"
            subprocess.run([ROOT / "tools" / "ollama-model.sh", address, name, model], check=True)
        self.until(lambda: self.listed(name), f"{name} in the list")
        return name

    def fill(self, context, parallel):
        """Two thirds of the context in each of the requests at a time; other words in each, so that nothing is shared."""
        base = self.until(lambda: gateway(self.home), "the gateway")
        threads = [threading.Thread(target=question, args=(base, context, index)) for index in range(parallel)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def taken(self, name):
        """What the instance holds in the ledger, with the files that it maps; two equal looks in a row."""
        last = None

        def look():
            nonlocal last
            time.sleep(2.5)
            now = sum(
                tenant["bytes"]
                for pool in self.ask("memory").get("pools", [])
                if pool["for_models"]
                for tenant in pool["tenants"]
                if tenant["model"] == name and tenant["certainty"] == "measured"
            )
            settled, last = now > 0 and last is not None and abs(now - last) < 0.01 * now, now
            return settled and now

        return self.until(look, f"the memory of {name}")


def gateway(home):
    record = json.loads(next((home / "run").glob("engine*.json")).read_text())
    return record.get("gateway_url")


WORDS = "boat harbour window river stone light paper garden winter engine copper number letter mountain field".split()


def question(base, context, index):
    random.seed(index)
    prompt = " ".join(random.choice(WORDS) for _ in range(int(context * 2 / 3 / 1.15)))
    body = {"model": "active", "messages": [{"role": "user", "content": prompt}], "max_tokens": 8, "temperature": 0}
    request = urllib.request.Request(
        f"{base}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )
    with urllib.request.urlopen(request, timeout=LIMIT_S) as answer:
        answer.read()


def measure(house, model, context, parallel, loads):
    house.start(context, parallel)
    try:
        name = house.make_known(model)
        ask = lambda: house.ask("fit", name, "--server", house.server)
        before = house.until(lambda: ask().get("needed_bytes"), "an estimate")
        taken = []
        for load in range(loads):
            if load:
                house.ask("servers", "restart", house.server)
            outcome = house.ask("switch", name, "--server", house.server)
            if outcome.get("outcome") != "committed":
                sys.exit(f"{name}: {outcome}")
            house.fill(context, parallel)
            taken.append(house.taken(name))
        house.ask("servers", "restart", house.server)
        time.sleep(4)
        after = ask()["needed_bytes"]
        return before, taken, after
    finally:
        house.stop()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    embedded = pathlib.Path(os.environ["PILOTHOUSE_EMBEDDED"]) / "models" / "SmolLM2-135M-Instruct.Q4_1.gguf"
    parser.add_argument("--servers", default="llama-server,ollama")
    parser.add_argument("--models", default=str(embedded))
    parser.add_argument("--contexts", default="2048,8192")
    parser.add_argument("--parallel", default="1,4")
    parser.add_argument("--loads", type=int, default=3)
    asked = parser.parse_args()
    models = [pathlib.Path(model).resolve() for model in asked.models.split(",")]
    print("| server | model | context | requests | before, MB | taken, MB | error | after, MB | error |")
    print("|---|---|---|---|---|---|---|---|---|", flush=True)
    for server in asked.servers.split(","):
        with tempfile.TemporaryDirectory(prefix="residency-") as folder:
            house = Pilothouse(pathlib.Path(folder) / "home", server, models)
            for model in models:
                for context in map(int, asked.contexts.split(",")):
                    for parallel in map(int, asked.parallel.split(",")):
                        before, taken, after = measure(house, model, context, parallel, asked.loads)
                        mean = sum(taken) / len(taken)
                        mega = lambda value: f"{value / 1e6:.0f}"
                        print(
                            f"| {server} | {model.stem} | {context} | {parallel} | {mega(before)} "
                            f"| {', '.join(map(mega, taken))} | {(before / mean - 1) * 100:+.1f} % "
                            f"| {mega(after)} | {(after / mean - 1) * 100:+.1f} % |",
                            flush=True,
                        )


main()
