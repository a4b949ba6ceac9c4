"""Stands between an agent and the gateway, hands on what each says, and keeps the shape of it: never a text, never a key."""

import http.client
import json
import threading
import zlib
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import zstandard
from judged import ROOT

# Longer than an agent is given for its task.
LIMIT_S = 600
SECRET = ("authorization", "x-api-key", "cookie", "proxy-authorization")
OF_ONE_CONNECTION = ("connection", "transfer-encoding", "content-length", "keep-alive")


def unpacked(body, coding):
    if coding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(body)
    return zlib.decompress(body, 47) if coding in ("gzip", "deflate") else body


def kind(value):
    return {dict: "object", list: "list", str: "text"}.get(type(value), json.dumps(value))


def shape(body):
    """The keys of a body, with the values that are no text of a person, and what its lists hold."""
    told = {key: kind(value) for key, value in body.items()}
    if "model" in body:
        told["model"] = body["model"]
    for key in ("tools", "input", "messages", "system"):
        if isinstance(body.get(key), list):
            told[key] = [" ".join(filter(None, map(entry.get, ("type", "role", "name")))) for entry in body[key]]
    for turn in body.get("messages") or []:
        if isinstance(turn.get("content"), list):
            told.setdefault("blocks", []).append([turn["role"], *(block["type"] for block in turn["content"])])
    return told


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_):
        pass

    def body(self):
        if self.headers.get("transfer-encoding", "").lower() != "chunked":
            return self.rfile.read(int(self.headers.get("content-length") or 0))
        told = b""
        while size := int(self.rfile.readline().split(b";")[0], 16):
            told += self.rfile.read(size)
            self.rfile.readline()
        self.rfile.readline()
        return told

    def hand_on(self):
        body = self.body()
        kept = {
            "asked": f"{self.command} {self.path}",
            "headers": {name: "(left out)" if name.lower() in SECRET else value for name, value in self.headers.items()},
            "body_bytes": len(body),
            "status": None,
        }
        self.server.before(kept)
        self.server.kept.append(kept)
        if body:
            try:
                kept["body"] = shape(json.loads(unpacked(body, self.headers.get("content-encoding"))))
            except (ValueError, AttributeError) as none:
                kept["body"] = f"no JSON object: {none}"
        door = http.client.HTTPConnection(urlsplit(ROOT).netloc, timeout=LIMIT_S)
        try:
            door.putrequest(self.command, self.path, skip_host=True, skip_accept_encoding=True)
            for name, value in self.headers.items():
                if name.lower() not in OF_ONE_CONNECTION:
                    door.putheader(name, value)
            door.putheader("content-length", str(len(body)))
            door.endheaders(body)
            self.answer(door.getresponse(), kept)
        finally:
            door.close()

    def answer(self, answer, kept):
        kept["status"] = answer.status
        kept["answer_headers"] = dict(answer.getheaders())
        self.send_response_only(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in OF_ONE_CONNECTION:
                self.send_header(name, value)
        # The end of an answer is where the connection ends.
        self.send_header("connection", "close")
        self.close_connection = True
        self.end_headers()
        told = b""
        try:
            while piece := answer.read1(65536):
                told += piece
                self.wfile.write(piece)
            kept["whole"] = True
        except OSError as gone:
            kept["whole"] = f"one side left: {gone}"
        self.server.answers[id(kept)] = told
        if answer.status >= 400:
            kept["refusal"] = told.decode(errors="replace")[:2000]

    do_GET = do_POST = do_HEAD = do_PUT = do_DELETE = do_OPTIONS = hand_on


class Recorder(ThreadingHTTPServer):
    """Answers on a socket that listens already. `kept` is what was asked, in order; `answer_of` the bytes of an answer. `before` is
    called before a request is handed on."""

    daemon_threads = True

    def __init__(self, listener, before=lambda kept: None):
        super().__init__(listener.getsockname(), Handler, bind_and_activate=False)
        self.socket.close()
        self.socket = listener
        self.kept, self.answers, self.before = [], {}, before
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def answer_of(self, kept):
        return self.answers.get(id(kept), b"")

    def close(self):
        self.shutdown()
        self.server_close()
