"""A plugin of pytest between llama.cpp's own server tests and what they ask; their files stay as they are.

Models that they would fetch are replaced by local ones, nothing beyond this machine is asked, and what came of each test is written
down. With `LLAMA_TESTS_GATEWAY` each of their servers becomes a remote server of that Pilothouse, made active before the test's
first request; requests of paths that the gateway lists then go there, word for word. Only what embeds or ranks cannot be made active
as a remote server's model: there the model's name is put into what is asked.

`LLAMA_TESTS_PATHS`: path.rs of the gateway. `LLAMA_TESTS_CHAT`, `LLAMA_TESTS_EMBEDDING`, `LLAMA_TESTS_RERANKER`: the local models. `LLAMA_TESTS_FOUND`: a file for what came of the
tests, a JSON document a line. `LLAMA_TESTS_PROGRAM`: `pilothouse`, whose `PILOTHOUSE_HOME` is that of the gateway."""

import functools
import itertools
import json
import os
import re
import subprocess
import threading
import time
from urllib.parse import urlsplit

import httpx
import pytest
import requests
import utils

GATEWAY = os.environ.get("LLAMA_TESTS_GATEWAY", "").removesuffix("/v1")
# A change of Pilothouse's that takes longer is a hang.
LIMIT_S = 90
# The paths that the gateway lists, from its own source, so that a new one is held to its tests at once.
with open(os.environ["LLAMA_TESTS_PATHS"], encoding="utf-8") as file:
    LISTED = {
        "/".join(re.findall(r'"([^"]*)"', one))
        for one in re.findall(r"path\(Dialect::\w+, &\[([^\]]*)\]\)", file.read())
    }
assert {"chat/completions", "responses/input_tokens"} <= LISTED, LISTED
# Without `/v1` these are two other functions of llama-server, with answers of their own form. The gateway has those below it alone.
OTHERS_WITHOUT_V1 = {"completions", "embeddings"}
# By the beginning of the hub's name. The rest (pictures, adapters, large models) has no stand-in here.
STAND_INS = {
    "ggml-org/test-model-stories260K": os.environ["LLAMA_TESTS_CHAT"],
    "ggml-org/stories15M_MOE": os.environ["LLAMA_TESTS_CHAT"],
    "ggml-org/models/bert-bge-small": os.environ["LLAMA_TESTS_EMBEDDING"],
    "ggml-org/models/jina-reranker": os.environ["LLAMA_TESTS_RERANKER"],
}

numbers = itertools.count(1)
# Tests ask from several threads.
lock = threading.Lock()
asked = []


def stand_in(server):
    if not server.model_hf_repo:
        return
    name = f"{server.model_hf_repo}/{server.model_hf_file or ''}"
    found = next((file for begin, file in STAND_INS.items() if name.startswith(begin)), None)
    if found is None or server.model_url:
        raise RuntimeError(f"no stand-in for {name}")
    server.model_file, server.model_hf_repo, server.model_hf_file = found, None, None


def pilothouse(*words, given=None):
    done = subprocess.run(
        [os.environ["LLAMA_TESTS_PROGRAM"], *words, "--json"],
        input=given,
        stdin=None if given else subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
    )
    if done.returncode:
        raise RuntimeError(f"pilothouse {' '.join(words)}: {done.returncode} {done.stdout} {done.stderr}")
    return json.loads(done.stdout)


def make_known(server):
    """Makes it a remote server, and active. Once for each process: a server that is started again is another one."""
    if server.known_as:
        return
    server.known_as = f"t{next(numbers)}"
    base = f"http://127.0.0.1:{server.server_port}/v1"
    # Past what is rewritten below.
    with direct.get(f"{base}/models", timeout=LIMIT_S) as answer:
        model = answer.json()["data"][0]["id"]
    pilothouse("servers", "add", server.known_as, base)
    if server.api_key:
        pilothouse("keys", "set", server.known_as, given=server.api_key)
    name, until = f"{server.known_as}/{model}", time.monotonic() + LIMIT_S
    while all(one["id"] != name for one in pilothouse("models")["models"]):
        if time.monotonic() > until:
            raise RuntimeError(f"pilothouse does not list {name}")
        time.sleep(0.05)
    if server.server_embeddings or server.server_reranking:
        # A switch ends with a token as proof, which these do not give.
        server.asked_by = name
    else:
        pilothouse("switch", model, "--server", server.known_as)


direct = requests.Session()
started, stopped = utils.ServerProcess.start, utils.ServerProcess.stop


@functools.wraps(started)
def start(server, *words, **named):
    stand_in(server)
    server.known_as = server.asked_by = None
    started(server, *words, **named)


@functools.wraps(stopped)
def stop(server):
    # Some are stopped that never were started.
    if getattr(server, "known_as", None):
        known_as, server.known_as = server.known_as, None
        pilothouse("servers", "remove", known_as)
    stopped(server)


def fetches_nothing(url, *_, **__):
    raise RuntimeError(f"nothing is fetched here: {url}")


utils.ServerProcess.start, utils.ServerProcess.stop = start, stop
utils.ServerPreset.load_all = staticmethod(lambda: None)
utils.download_file = utils.wget.download = fetches_nothing


def listed(method, path):
    below = path.removeprefix("/v1").removeprefix("/")
    return method == "POST" and below in LISTED and (path.startswith("/v1/") or below not in OTHERS_WITHOUT_V1)


def way(method, url, body):
    """Where a request goes and with what, and the note of it; one that is none of the gateway's has no note."""
    parts = urlsplit(str(url))
    if parts.hostname not in ("127.0.0.1", "localhost", "::1"):
        fetches_nothing(url)
    server = next((one for one in utils.server_instances if one.server_port == parts.port), None)
    # One without a model is a router, which is asked for many and loads them itself; its tests need those of the hub.
    if server is None or not server.model_file or not listed(method, parts.path):
        return url, body, None
    note = {"path": parts.path, "status": None, "server": None}
    asked.append(note)
    if GATEWAY:
        with lock:
            make_known(server)
        url = GATEWAY + parts.path + (f"?{parts.query}" if parts.query else "")
        said = json.loads(body)
        if server.asked_by and isinstance(said, dict):
            body = json.dumps(said | {"model": server.asked_by}).encode()
    return url, body, note


def answered(note, answer):
    if note:
        note["status"], note["server"] = answer.status_code, answer.headers.get("x-pilothouse-server")
    return answer


sent_by_requests, sent_by_httpx = requests.adapters.HTTPAdapter.send, httpx.HTTPTransport.handle_request


def send(adapter, request, *words, **named):
    if direct.get_adapter("http://") is adapter:
        return sent_by_requests(adapter, request, *words, **named)
    request.url, body, note = way(request.method, request.url, request.body)
    if body is not request.body:
        request.prepare_body(body, None)
    return answered(note, sent_by_requests(adapter, request, *words, **named))


def handle_request(transport, request):
    url, body, note = way(request.method, request.url, request.read())
    if note and GATEWAY:
        # Its Host header, and the length of its body.
        headers = [one for one in request.headers.items() if one[0] not in ("host", "content-length")]
        request = httpx.Request(request.method, str(url), headers=headers, content=body, extensions=request.extensions)
    return answered(note, sent_by_httpx(transport, request))


requests.adapters.HTTPAdapter.send, httpx.HTTPTransport.handle_request = send, handle_request


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.when == "setup":
        item.found, item.why = "passed", None
    if not report.passed and item.found == "passed":
        item.found = report.outcome
        crash = getattr(report.longrepr, "reprcrash", None)
        item.why = crash.message if crash else str(report.longrepr)
    if report.when != "teardown":
        return
    note = {"test": item.nodeid, "found": item.found, "why": (item.why or "")[:2000], "asked": asked[:]}
    asked.clear()
    with open(os.environ["LLAMA_TESTS_FOUND"], "a", encoding="utf-8") as file:
        file.write(json.dumps(note) + "\n")
