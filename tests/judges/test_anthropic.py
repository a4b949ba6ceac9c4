"""The anthropic package for Python."""

import json

import anthropic
from judged import KEY, LIMIT_S, PNG, ROOT, SCHEMA, TOO_LONG, WEATHER, asks, on_each_server

HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {"name": "weather", "description": "Weather of a city", "input_schema": WEATHER}


@on_each_server
class Anthropic:
    client = "anthropic (Python)"

    def setUp(self):
        self.api = anthropic.Anthropic(base_url=ROOT, api_key=KEY, max_retries=0, timeout=LIMIT_S)
        self.addCleanup(self.api.close)

    @asks("messages", "whole")
    def test_messages(self):
        raw = self.api.messages.with_raw_response.create(model=self.models["chat"], messages=HELLO, max_tokens=12)
        self.assertEqual(raw.headers["x-pilothouse-server"], self.server)
        said = raw.parse()
        self.assertEqual((said.type, said.role, said.content[0].type), ("message", "assistant", "text"))
        self.assertIn(said.stop_reason, ("end_turn", "max_tokens"))
        self.assertGreater(said.usage.input_tokens, 0)
        self.assertLessEqual(said.usage.output_tokens, 12)

    @asks("messages", "stream")
    def test_stream(self):
        with self.api.messages.stream(
            model=self.models["chat"], system="Be short.", messages=HELLO, max_tokens=12
        ) as stream:
            events = list(stream)
            said = stream.get_final_message()
        kinds = [event.type for event in events if event.type != "ping"]
        self.assertEqual((kinds[0], kinds[-1]), ("message_start", "message_stop"))
        self.assertIn("content_block_start", kinds)
        self.assertIn("content_block_stop", kinds)
        self.assertEqual(said.content[0].text, "".join(event.text for event in events if event.type == "text"))
        self.assertIn(said.stop_reason, ("end_turn", "max_tokens"))

    @asks("messages", "tools")
    def test_tools(self):
        turns = [
            {"role": "user", "content": "How is the weather in Rome?"},
            {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "weather", "input": {"city": "Rome"}}]},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "sunny"}]},
        ]
        said = self.api.messages.create(model=self.models["tools"], messages=turns, tools=[TOOL], max_tokens=12)
        for block in said.content:
            self.assertIn(block.type, ("text", "tool_use"))
        self.assertIn(said.stop_reason, ("end_turn", "max_tokens", "tool_use"))

    @asks("messages", "schema")
    def test_schema(self):
        said = self.api.messages.create(
            model=self.models["chat"],
            messages=HELLO,
            max_tokens=40,
            extra_body={"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
        )
        self.assertIn(json.loads(said.content[0].text)["answer"], ("yes", "no"))

    @asks("messages", "count_tokens")
    def test_count(self):
        count, model = self.api.messages.count_tokens, self.models["chat"]
        short = count(model=model, messages=HELLO).input_tokens
        long = count(model=model, messages=[{"role": "user", "content": "word " * 300}]).input_tokens
        self.assertGreater(short, 0)
        self.assertTrue(200 < long - short < 600, (short, long))

    @asks("models", "list")
    def test_models(self):
        self.assertIn("active", [model.id for model in self.api.models.list()])

    @asks("messages", "errors")
    def test_errors(self):
        create = self.api.messages.create
        with self.assertRaises(anthropic.NotFoundError) as none:
            create(model="no-such-model", messages=HELLO, max_tokens=4)
        self.assertEqual(none.exception.body["error"]["type"], "not_found_error")
        self.assertIn("There is no model no-such-model here", str(none.exception))
        self.assertEqual(none.exception.body["type"], "error")
        self.assertTrue(none.exception.request_id)
        with self.assertRaises(anthropic.BadRequestError) as wrong:
            create(model=self.models["chat"], messages=7, max_tokens=4)
        self.assertEqual(wrong.exception.body["error"]["type"], "invalid_request_error")

    @asks("messages", "image refused")
    def test_image(self):
        source = {"type": "base64", "media_type": "image/png", "data": PNG}
        turns = [{"role": "user", "content": [{"type": "image", "source": source}]}]
        with self.assertRaises(anthropic.BadRequestError):
            self.api.messages.create(model=self.models["chat"], messages=turns, max_tokens=4)

    @asks("messages", "prompt too long")
    def test_too_long(self):
        turns = [{"role": "user", "content": TOO_LONG}]
        with self.assertRaisesRegex(anthropic.BadRequestError, "prompt is too long"):
            self.api.messages.create(model=self.models["chat"], messages=turns, max_tokens=2)
