"""Makes a quick model of a real one: shallow.py FROM TO [CALL]. It keeps the first two layers and the vocabulary, and takes long
prompts. With a CALL ({"name": …, "arguments": …}) that is one of its words, which ends an answer; a server that is told to prefer this
word (its number is 3) answers with a call and nothing else. With --ollama NAME it prints what makes Ollama give that model a template
with tools.

Agents begin with thousands of tokens; a whole model, even the smallest, reads them for many minutes on few processors. What this
one says is worth nothing, but a real server loads it, reads prompts with it and streams what it says, and that is looked at."""

import json
import struct
import sys
from pathlib import Path

LAYERS, CONTEXT = 2, 65_536
# It seldom finds its end by itself, and an agent takes an answer that was cut for a failure. These are words that it says all the
# time: they end an answer as well.
ENDS = {"eot": ",", "eom": "Ġand"}
U32, I32, TEXT, LIST = 4, 5, 8, 9
# A word of the vocabulary that nobody writes.
CALL, OF_ITS_OWN = 3, 4
SIZES = {0: 1, 1: 1, 2: 2, 3: 2, 4: 4, 5: 4, 6: 4, 7: 1, 10: 8, 11: 8, 12: 8}
# ChatML, with tools as Hermes has them: both servers know these signs for calls.
TEMPLATE = """{%- if tools %}<|im_start|>system
{% if messages[0].role == 'system' %}{{ messages[0].content }}
{% endif %}<tools>
{% for tool in tools %}{{ tool | tojson }}
{% endfor %}</tools>
For each call: <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{% elif messages[0].role == 'system' %}<|im_start|>system
{{ messages[0].content }}<|im_end|>
{% endif %}{%- for message in messages %}{%- if message.role == 'system' and loop.first %}{%- elif message.role == 'tool' %}<|im_start|>user
<tool_response>
{{ message.content }}
</tool_response><|im_end|>
{% else %}<|im_start|>{{ message.role }}
{{ message.content or '' }}{% for call in message.tool_calls or [] %}
<tool_call>
{"name": "{{ call.function.name }}", "arguments": {{ call.function.arguments | tojson }}}
</tool_call>{% endfor %}<|im_end|>
{% endif %}{%- endfor %}{%- if add_generation_prompt %}<|im_start|>assistant
{% endif %}"""

OF_OLLAMA = """{{ if .Tools }}<|im_start|>system
{{ range .Tools }}{{ .Function }}
{{ end }}For each call: <tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call><|im_end|>
{{ end }}{{ range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}{{ range .ToolCalls }}<tool_call>
{"name": "{{ .Function.Name }}", "arguments": {{ .Function.Arguments }}}
</tool_call>{{ end }}<|im_end|>
{{ end }}<|im_start|>assistant
"""


class Reader:
    def __init__(self, data):
        self.data, self.at = data, 0

    def number(self, form):
        (value,) = struct.unpack_from(form, self.data, self.at)
        self.at += struct.calcsize(form)
        return value

    def text(self):
        length = self.number("<Q")
        self.at += length
        return bytes(self.data[self.at - length : self.at]).decode()

    def texts(self):
        self.number("<I")
        return [self.text() for _ in range(self.number("<Q"))]

    def numbers(self):
        self.number("<I")
        return [self.number("<i") for _ in range(self.number("<Q"))]

    def skip(self, kind):
        if kind == TEXT:
            self.text()
        elif kind == LIST:
            of, length = self.number("<I"), self.number("<Q")
            if of in SIZES:
                self.at += SIZES[of] * length
            else:
                for _ in range(length):
                    self.skip(of)
        else:
            self.at += SIZES[kind]


def text(value):
    return struct.pack("<Q", len(value.encode())) + value.encode()


def entry(key, kind, value):
    return text(key) + struct.pack("<I", kind) + (text(value) if kind == TEXT else struct.pack("<I", value))


def listed(key, kind, values):
    head = text(key) + struct.pack("<IIQ", LIST, kind, len(values))
    return head + (b"".join(map(text, values)) if kind == TEXT else struct.pack(f"<{len(values)}i", *values))


def is_kept(name):
    part = name.split(".")
    return part[0] != "blk" or int(part[1]) < LAYERS


def cut(data, call=None):
    head = Reader(data)
    if bytes(data[:4]) != b"GGUF":
        sys.exit("this is no GGUF file")
    head.at = 4
    version, tensors, keys = head.number("<I"), head.number("<Q"), head.number("<Q")
    said = {}
    for _ in range(keys):
        begin, key = head.at, head.text()
        kind = head.number("<I")
        if key == "tokenizer.ggml.tokens":
            words = head.texts()
        elif key == "tokenizer.ggml.token_type":
            kinds = head.numbers()
        else:
            head.skip(kind)
        said[key] = bytes(data[begin : head.at])
    ends = {end: words.index(word) for end, word in ENDS.items()}
    if call:
        words[CALL], kinds[CALL], ends["eom"] = f"<tool_call>\n{call}\n</tool_call>", OF_ITS_OWN, CALL
        for key, kind, values in (("tokens", TEXT, words), ("token_type", I32, kinds)):
            said[f"tokenizer.ggml.{key}"] = listed(f"tokenizer.ggml.{key}", kind, values)
    said |= {
        "llama.block_count": entry("llama.block_count", U32, LAYERS),
        "llama.context_length": entry("llama.context_length", U32, CONTEXT),
        **{key: entry(key, U32, word) for key, word in ((f"tokenizer.ggml.{end}_token_id", word) for end, word in ends.items())},
        "tokenizer.chat_template": entry("tokenizer.chat_template", TEXT, TEMPLATE),
    }
    found = []
    for _ in range(tensors):
        name, dimensions = head.text(), head.number("<I")
        rest = bytes(data[head.at : head.at + 8 * dimensions + 4])
        head.at += len(rest)
        found.append((name, struct.pack("<I", dimensions) + rest, head.number("<Q")))
    start = head.at + -head.at % 32
    limits = sorted({offset for *_, offset in found} | {len(data) - start})
    infos, weights = b"", b""
    kept = [one for one in found if is_kept(one[0])]
    for name, form, offset in kept:
        infos += text(name) + form + struct.pack("<Q", len(weights))
        weights += bytes(data[start + offset : start + limits[limits.index(offset) + 1]])
        weights += b"\0" * (-len(weights) % 32)
    made = b"GGUF" + struct.pack("<IQQ", version, len(kept), len(said)) + b"".join(said.values()) + infos
    return made + b"\0" * (-len(made) % 32) + weights


if sys.argv[1] == "--ollama":
    print(json.dumps({"model": sys.argv[2], "from": sys.argv[2], "template": OF_OLLAMA, "stream": False}))
    sys.exit()
Path(sys.argv[2]).write_bytes(cut(memoryview(Path(sys.argv[1]).read_bytes()), *sys.argv[3:]))
