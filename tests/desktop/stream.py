"""A client program: streams an answer through the gateway for each line that it reads, and tells who answered."""

import json
import sys

from openai import OpenAI

client = OpenAI(base_url=sys.argv[1], api_key="not-needed", max_retries=0, timeout=120)
for line in sys.stdin:
    raw = client.chat.completions.with_raw_response.create(
        model="active",
        messages=[{"role": "user", "content": line.strip()}],
        max_tokens=24,
        stream=True,
    )
    chunks = [chunk for chunk in raw.parse() if chunk.choices]
    text = "".join(chunk.choices[0].delta.content or "" for chunk in chunks)
    told = {
        "server": raw.headers.get("x-pilothouse-server"),
        "model": raw.headers.get("x-pilothouse-model"),
        "chunks": len(chunks),
        "text": text,
    }
    print(json.dumps(told), flush=True)
