"""langchain-openai."""

import os

os.environ["LANGSMITH_TRACING"] = "false"

import openai
from judged import GATEWAY, KEY, LIMIT_S, SCHEMA, WEATHER, asks, on_each_server
from langchain_openai import ChatOpenAI, OpenAIEmbeddings

TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather", "parameters": WEATHER}}


@on_each_server
class Langchain:
    client = "langchain-openai"

    def chat(self, model=None, tokens=16, **more):
        model = model or self.models["chat"]
        return ChatOpenAI(
            model=model, base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=LIMIT_S, max_tokens=tokens, **more
        )

    @asks("chat", "whole")
    def test_chat(self):
        said = self.chat().invoke("Say hello.")
        self.assertEqual(said.type, "ai")
        self.assertGreater(said.usage_metadata["output_tokens"], 0)

    @asks("chat", "stream")
    def test_stream(self):
        whole = None
        for chunk in self.chat(stream_usage=True).stream("Say hello."):
            whole = chunk if whole is None else whole + chunk
        self.assertTrue(whole.content)
        self.assertGreater(whole.usage_metadata["output_tokens"], 0)

    @asks("chat", "tools")
    def test_tools(self):
        said = self.chat(self.models["tools"]).bind_tools([TOOL]).invoke("Say hello.")
        self.assertIn(said.response_metadata["finish_reason"], ("stop", "length", "tool_calls"))

    @asks("chat", "schema")
    def test_schema(self):
        schema = {"title": "answer", "description": "An answer", **SCHEMA}
        said = self.chat(tokens=40).with_structured_output(schema, method="json_schema").invoke("Is it?")
        self.assertIn(said["answer"], ("yes", "no"))

    @asks("responses", "whole")
    def test_responses(self):
        said = self.chat(use_responses_api=True).invoke("Say hello.")
        self.assertEqual(said.response_metadata["object"], "response")
        self.assertTrue(said.text)

    @asks("responses", "stream")
    def test_responses_stream(self):
        whole = None
        for chunk in self.chat(use_responses_api=True).stream("Say hello."):
            whole = chunk if whole is None else whole + chunk
        self.assertTrue(whole.text)
        self.assertGreater(whole.usage_metadata["output_tokens"], 0)

    @asks("embeddings", "whole")
    def test_embeddings(self):
        model = self.models["embeddings"]
        made = OpenAIEmbeddings(model=model, base_url=GATEWAY, api_key=KEY, check_embedding_ctx_length=False)
        self.assertEqual(len(made.embed_query("a")), 384)

    @asks("chat", "errors")
    def test_errors(self):
        with self.assertRaises(openai.NotFoundError):
            self.chat("no-such-model").invoke("x")
