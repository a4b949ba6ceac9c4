#!/usr/bin/env python3
"""What a switch costs beside its server: 30 alternations between two real models, on llama-server and on Ollama.

Usage: switch-overhead.py PROGRAM EMBEDDED OLLAMA [ROUNDS]

The cost is the time from the click to the commit, less the load and the first token as the switch itself reports them: reaching the
server, planning, the journal. Printed are the medians and the largest of each; the goal is a median of 50 ms.
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
import time

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
    finally:
        engine.terminate()
        engine.wait(30)
        shutil.rmtree(home, ignore_errors=True)


main()
