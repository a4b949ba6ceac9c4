#!/usr/bin/env python3
"""Holds a benchmark's figures against the server's own clock and against llama-bench.

    tools/fidelity.py --programs FOLDER --model FILE.gguf [--rounds 10] [--trials 10]

FOLDER holds llama-server and llama-bench of one build (tools/llama-cpp.sh). In each round Pilothouse measures the model with
the standard plan and llama-bench the same number of tokens behind a prompt of the same length, in random order. Prints three
figures with their goals; nothing is asserted here, for a busy machine would fail it.
"""

import argparse
import json
import os
import pathlib
import random
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent
PROGRAM = ROOT / os.environ.get("CARGO_TARGET_DIR", "target") / "release" / "pilothouse"
START_S = 120
# One run or one call of llama-bench; a large model on a processor takes minutes.
CALL_S = 1800
# Longer than the 64 tokens of a quick run: at 128 the first token's share of an error is below 1 %.
TOKENS = 128


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--programs", type=pathlib.Path, required=True)
    arguments.add_argument("--model", type=pathlib.Path, required=True)
    arguments.add_argument("--rounds", type=int, default=10)
    arguments.add_argument("--trials", type=int, default=10)
    asked = arguments.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        with Engine(pathlib.Path(folder), asked.programs, asked.model) as engine:
            measure(engine, asked)


class Engine:
    """`pilothouse serve` in a home of its own with one server and one model."""

    def __init__(self, home, programs, model):
        self.home, self.programs, self.model = home, programs, model
        self.environment = {**os.environ, "PILOTHOUSE_HOME": str(home), "HOME": str(home)}

    def __enter__(self):
        models = self.home / "models"
        (self.home / "config").mkdir(parents=True)
        models.mkdir()
        os.symlink(self.model, models / self.model.name)
        (self.home / "config" / "settings.toml").write_text(
            f"""[gateway]
port = 0
[servers.llama-server]
program = {json.dumps(str(self.programs / "llama-server"))}
models_dir = {json.dumps(str(models))}
[servers.ollama]
enabled = false
[servers.lmstudio]
enabled = false
"""
        )
        self.process = subprocess.Popen(
            [PROGRAM, "serve"], env=self.environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        deadline = time.monotonic() + START_S
        while not self.is_at_rest():
            if time.monotonic() > deadline:
                sys.exit("llama-server had not loaded the model in time")
            time.sleep(0.2)
        return self

    def is_at_rest(self):
        """A first start makes the only model active by itself."""
        status = self.ask("status")
        ready = any(one["state"] == "ready" for one in status.get("servers", []))
        return ready and status.get("active") is not None and status.get("switching") is None

    def __exit__(self, *_):
        self.process.terminate()
        self.process.wait()

    def ask(self, *arguments):
        done = subprocess.run(
            [PROGRAM, *arguments, "--json"], env=self.environment, capture_output=True, text=True, timeout=CALL_S
        )
        try:
            return json.loads(done.stdout)
        except json.JSONDecodeError:
            return {"error": done.stderr}

    def run(self, trials):
        """The requests of one run that count."""
        run = self.ask("bench", self.model.stem, "--plan", "standard", "--trials", str(trials))
        if "run_id" not in run:
            sys.exit(f"the run failed: {run}")
        file = self.home / f"run-{run['run_id']}.jsonl"
        written = self.ask("export", str(file), str(run["run_id"]))
        if "file" not in written:
            sys.exit(f"the run could not be exported: {written}")
        rows = [json.loads(line) for line in file.read_text().splitlines()[1:]]
        disturbed = [one["name"] for one in run.get("disturbed", [])]
        return [one for one in rows[0]["trials"] if one["phase"] == "measured" and not one["flaw"]], disturbed


def llama_bench(programs, model, depth, repeats):
    command = [programs / "llama-bench", "-m", model, "-p", "0", "-n", str(TOKENS), "-d", str(depth)]
    done = subprocess.run(
        [*command, "-r", str(repeats), "-o", "json"], capture_output=True, text=True, timeout=CALL_S, check=True
    )
    return statistics.median(json.loads(done.stdout)[0]["samples_ts"])


def measure(engine, asked):
    first, _ = engine.run(5)
    depth = int(statistics.median(one["prompt_tokens"] for one in first))
    trials, pairs, disturbers = [], [], set()
    for _ in range(asked.rounds):
        ours = theirs = None
        for who in random.sample(["ours", "theirs"], 2):
            if who == "ours":
                measured, disturbed = engine.run(asked.trials)
                trials += measured
                disturbers.update(disturbed)
                ours = statistics.median(one["decode_tok_s"] for one in measured)
            else:
                theirs = llama_bench(asked.programs, asked.model, depth, asked.trials)
        pairs.append(ours / theirs)
        print(f"  pair {len(pairs)} of {asked.rounds}: {ours:.2f} tok/s, llama-bench {theirs:.2f}", file=sys.stderr, flush=True)
    decode = statistics.median(one["decode_tok_s"] / one["server_decode_tok_s"] for one in trials)
    prompt_ms = [
        1000 * (one["prompt_tokens"] - (one["cached_tokens"] or 0)) / one["server_prefill_tok_s"] for one in trials
    ]
    first_token = statistics.median(one["ttft_ms"] - ms for one, ms in zip(trials, prompt_ms))
    quiet = f"disturbed by {', '.join(sorted(disturbers))}" if disturbers else "quiet"
    print(f"{asked.model.name}: {len(trials)} requests of {depth} tokens in, {TOKENS} out; {quiet}")
    print(f"  decode, our clock / the server's    {decode:.4f}   (goal 0.99 to 1.01)")
    print(f"  first token, ours less the server's {first_token:.1f} ms   (goal below 5 ms)")
    low, high = min(pairs), max(pairs)
    print(
        f"  decode, ours / llama-bench          {statistics.median(pairs):.3f}   "
        f"({low:.3f} to {high:.3f} in {len(pairs)} pairs; goal 0.97 to 1.03)"
    )


if __name__ == "__main__":
    main()
