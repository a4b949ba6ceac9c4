"""The table of docs/clients.md: table.py FOUND [--write]. Without --write it fails, and shows what is other, when the committed one
differs from what was found. Versions stand in a line that is not compared."""

import difflib
import json
import sys
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "clients.md"
HERE = Path(__file__).parent
VERSIONS = "Versions: "
HEAD = """# Clients

What foreign clients and judges get from the address of Pilothouse, before a real llama-server and a real Ollama with small models.
`make judges` finds it out and fails when this page says otherwise; `tools/judges.sh --write` writes it.

The tests look at statuses, types, events and errors, never at what a model says. “Left out” says why a test is not held; it counts as
skipped, and so does a “no” whose reason is known. llm-comply names no limit of tokens: an answer of a small model that was cut, and says so, counts as one that ended.
In chat, where the servers' own words are handed on, its demand for `refusal` and `logprobs` is passed over: both may be null, and
neither server says them.

“By hand” are requests as an agent sends them, written after what is known of its wire. Codex and Claude Code are the real programs, with
the configuration that `pilothouse connect` wrote, at one task each, without a login and where nothing but loopback is reachable. Their
model is a real one cut down to its first two layers: what it says is worth nothing, but it reads their long prompts in seconds. “The
model calls”: one of its words is a call, and llama-server is told to prefer that word.
"""


def versions():
    python = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().split() if "==" in line)
    node = {}
    for folder in (HERE, HERE / "agents"):
        node |= json.loads((folder / "package.json").read_text())["dependencies"]
    named = [f"{name} {python[name]}" for name in ("llm-comply", "openai", "anthropic", "litellm", "langchain-openai")]
    return VERSIONS + ", ".join(named + [f"{name} {version} (npm)" for name, version in node.items()]) + "."


def page(rows):
    servers = sorted({row["server"] for row in rows}, key=str.lower)
    cells = {}
    for row in rows:
        cells.setdefault((row["client"], row["dialect"], row["what"]), {})[row["server"]] = row["verdict"]
    lines = [HEAD, versions(), "", f"| Client | Dialect | What | {' | '.join(servers)} |", "|---" * (3 + len(servers)) + "|"]
    for key in sorted(cells, key=lambda key: tuple(part.lower() for part in key)):
        told = [cells[key].get(server, "not asked") for server in servers]
        lines.append(f"| {' | '.join((*key, *told))} |")
    return "\n".join(lines) + "\n"


def compared(text):
    return [line for line in text.splitlines() if not line.startswith(VERSIONS)]


found = page([json.loads(line) for line in Path(sys.argv[1]).read_text().splitlines()])
if "--write" in sys.argv:
    PAGE.write_text(found)
    print(f"{PAGE.name} is written")
else:
    committed = PAGE.read_text() if PAGE.exists() else ""
    other = list(difflib.unified_diff(compared(committed), compared(found), "committed", "found", lineterm="", n=0))
    if other:
        print("\n".join(other))
        sys.exit("docs/clients.md says something else; if what was found is right: tools/judges.sh --write")
