"""LiteLLM, which many programs speak through."""

import os

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"

import litellm
from judged import GATEWAY, KEY, LIMIT_S, ROOT, WEATHER, asks, on_each_server

litellm.telemetry = False
HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {"type": "function", "function": {"name": "weather", "parameters": WEATHER}}


@on_each_server
class Litellm:
    client = "LiteLLM"

    def ask(self, call, provider="openai", model=None, **more):
        base = ROOT if provider == "anthropic" else GATEWAY
        name = f"{provider}/{model or self.models['chat']}"
        return call(model=name, api_base=base, api_key=KEY, timeout=LIMIT_S, num_retries=0, **more)

    @asks("chat", "whole")
    def test_chat(self):
        said = self.ask(litellm.completion, messages=HELLO, max_tokens=12)
        self.assertIn(said.choices[0].finish_reason, ("stop", "length"))
        self.assertGreater(said.usage.completion_tokens, 0)

    @asks("chat", "stream")
    def test_stream(self):
        chunks = list(self.ask(litellm.completion, messages=HELLO, max_tokens=12, stream=True))
        self.assertTrue(any(chunk.choices[0].delta.content for chunk in chunks))
        self.assertIn(chunks[-1].choices[0].finish_reason, ("stop", "length"))

    @asks("chat", "tools")
    def test_tools(self):
        said = self.ask(litellm.completion, model=self.models["tools"], messages=HELLO, tools=[TOOL], max_tokens=12)
        self.assertIn(said.choices[0].finish_reason, ("stop", "length", "tool_calls"))

    @asks("embeddings", "whole")
    def test_embeddings(self):
        said = self.ask(litellm.embedding, model=self.models["embeddings"], input=["a"], encoding_format="float")
        self.assertEqual(len(said.data[0]["embedding"]), 384)

    @asks("responses", "whole")
    def test_responses(self):
        said = self.ask(litellm.responses, input="Say hello.", max_output_tokens=16)
        self.assertEqual(said.output[0].type, "message")

    @asks("messages", "whole")
    def test_messages(self):
        said = self.ask(litellm.completion, provider="anthropic", messages=HELLO, max_tokens=12)
        self.assertIn(said.choices[0].finish_reason, ("stop", "length"))

    @asks("messages", "stream")
    def test_messages_stream(self):
        chunks = list(
            self.ask(litellm.completion, provider="anthropic", messages=HELLO, max_tokens=12, stream=True)
        )
        self.assertTrue(any(chunk.choices[0].delta.content for chunk in chunks))

    @asks("chat", "errors")
    def test_errors(self):
        with self.assertRaises(litellm.NotFoundError):
            self.ask(litellm.completion, model="no-such-model", messages=HELLO)

    @asks("messages", "errors")
    def test_messages_errors(self):
        with self.assertRaises(litellm.NotFoundError):
            self.ask(litellm.completion, provider="anthropic", model="no-such-model", messages=HELLO)
