"""The openai package for Python."""

import json

import openai
from judged import GATEWAY, KEY, LIMIT_S, Lacks, PNG, SCHEMA, TOO_LONG, WEATHER, asks, on_each_server

HELLO = [{"role": "user", "content": "Say hello."}]
TOOL = {"type": "function", "function": {"name": "weather", "description": "Weather of a city", "parameters": WEATHER}}


@on_each_server
class Openai:
    client = "openai (Python)"

    def setUp(self):
        self.api = openai.OpenAI(base_url=GATEWAY, api_key=KEY, max_retries=0, timeout=LIMIT_S)
        self.addCleanup(self.api.close)

    def answered_by(self, raw):
        self.assertEqual(raw.headers["x-pilothouse-server"], self.server)
        return raw.parse()

    @asks("chat", "whole")
    def test_chat(self):
        raw = self.api.chat.completions.with_raw_response.create(
            model=self.models["chat"], messages=HELLO, max_tokens=12
        )
        said = self.answered_by(raw)
        self.assertEqual((said.object, said.choices[0].message.role), ("chat.completion", "assistant"))
        self.assertIn(said.choices[0].finish_reason, ("stop", "length"))
        self.assertLessEqual(said.usage.completion_tokens, 12)
        self.assertEqual(said.usage.total_tokens, said.usage.prompt_tokens + said.usage.completion_tokens)

    @asks("chat", "stream")
    def test_stream(self):
        chunks = list(
            self.api.chat.completions.create(
                model=self.models["chat"],
                messages=HELLO,
                max_tokens=12,
                stream=True,
                stream_options={"include_usage": True},
            )
        )
        self.assertTrue(any(chunk.choices and chunk.choices[0].delta.content for chunk in chunks))
        ends = [chunk.choices[0].finish_reason for chunk in chunks if chunk.choices]
        self.assertIn([end for end in ends if end], (["stop"], ["length"]))
        self.assertGreater(chunks[-1].usage.completion_tokens, 0)

    @asks("chat", "tools")
    def test_tools(self):
        said = self.api.chat.completions.create(
            model=self.models["tools"], messages=HELLO, tools=[TOOL], max_tokens=24
        )
        for call in said.choices[0].message.tool_calls or []:
            self.assertEqual((call.type, call.function.name), ("function", "weather"))
        call = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Rome"}'}}
        turns = [
            {"role": "user", "content": "How is the weather in Rome?"},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
        ]
        said = self.api.chat.completions.create(
            model=self.models["tools"], messages=turns, tools=[TOOL], max_tokens=12
        )
        self.assertIn(said.choices[0].finish_reason, ("stop", "length", "tool_calls"))

    @asks("chat", "schema")
    def test_schema(self):
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": SCHEMA, "strict": True}}
        said = self.api.chat.completions.create(
            model=self.models["chat"], messages=HELLO, response_format=form, max_tokens=40
        )
        self.assertIn(json.loads(said.choices[0].message.content)["answer"], ("yes", "no"))

    @asks("chat", "errors")
    def test_errors(self):
        create = self.api.chat.completions.create
        with self.assertRaises(openai.NotFoundError) as none:
            create(model="no-such-model", messages=HELLO)
        self.assertEqual((none.exception.code, none.exception.param), ("model_not_found", "model"))
        self.assertIn("There is no model no-such-model here", none.exception.message)
        with self.assertRaises(openai.BadRequestError):
            create(model=self.models["chat"], messages="no list")

    @asks("chat", "prompt too long")
    def test_too_long(self):
        turns = [{"role": "user", "content": TOO_LONG}]
        with self.assertRaisesRegex(openai.BadRequestError, r"\d+ tokens.*\d+ tokens"):
            self.api.chat.completions.create(model=self.models["chat"], messages=turns, max_tokens=2)

    @asks("chat", "image refused")
    def test_image(self):
        image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{PNG}"}}
        with self.assertRaises(openai.APIStatusError) as refused:
            self.api.chat.completions.create(model=self.models["chat"], messages=[{"role": "user", "content": [image]}])
        if refused.exception.status_code == 500 and self.server == "llama-server":
            raise Lacks("llama-server says it with status 500, which is handed on")
        self.assertEqual(refused.exception.status_code, 400)

    @asks("completions", "whole")
    def test_completions(self):
        said = self.api.completions.create(model=self.models["chat"], prompt="One, two,", max_tokens=6)
        self.assertEqual(said.object, "text_completion")
        self.assertIn(said.choices[0].finish_reason, ("stop", "length"))

    @asks("embeddings", "numbers and base64")
    def test_embeddings(self):
        model = self.models["embeddings"]
        packed = self.api.embeddings.create(model=model, input=["a", "b"])
        plain = self.api.embeddings.create(model=model, input=["a", "b"], encoding_format="float")
        self.assertEqual([len(one.embedding) for one in packed.data + plain.data], [384] * 4)
        self.assertAlmostEqual(packed.data[0].embedding[0], plain.data[0].embedding[0], places=4)

    @asks("models", "list, one")
    def test_models(self):
        ids = [model.id for model in self.api.models.list()]
        self.assertIn("active", ids)
        self.assertEqual(self.api.models.retrieve(self.models["chat"]).owned_by, self.server)
        with self.assertRaises(openai.NotFoundError):
            self.api.models.retrieve("no-such-model")

    @asks("responses", "whole")
    def test_responses(self):
        raw = self.api.responses.with_raw_response.create(
            model=self.models["chat"], input="Say hello.", max_output_tokens=16
        )
        said = self.answered_by(raw)
        self.assertEqual((said.object, said.output[0].type), ("response", "message"))
        self.assertIn(said.status, ("completed", "incomplete"))
        self.assertEqual(said.usage.total_tokens, said.usage.input_tokens + said.usage.output_tokens)

    @asks("responses", "stream")
    def test_responses_stream(self):
        with self.api.responses.stream(model=self.models["chat"], input="Say hello.", max_output_tokens=16) as stream:
            events = list(stream)
        kinds = [event.type for event in events]
        self.assertEqual(kinds[0], "response.created")
        self.assertIn(kinds[-1], ("response.completed", "response.incomplete"))
        self.assertEqual([event.sequence_number for event in events], list(range(len(events))))
        told = "".join(event.delta for event in events if event.type == "response.output_text.delta")
        self.assertEqual(events[-1].response.output_text, told)

    @asks("responses", "previous_response_id")
    def test_previous(self):
        create, model = self.api.responses.create, self.models["chat"]
        first = create(model=model, input="My name is Ada.", max_output_tokens=16)
        second = create(model=model, input="And now?", previous_response_id=first.id, max_output_tokens=16)
        self.assertEqual(second.previous_response_id, first.id)
        self.assertGreater(second.usage.input_tokens, first.usage.input_tokens + 5)
        self.assertEqual(self.api.responses.retrieve(first.id).output_text, first.output_text)
        self.assertEqual(len(self.api.responses.input_items.list(first.id).data), 1)
        self.api.responses.delete(first.id)
        for gone in (first.id, "resp_nobody"):
            with self.assertRaises(openai.APIStatusError) as none:
                create(model=model, input="x", previous_response_id=gone)
            self.assertIn(none.exception.status_code, (400, 404))
            self.assertEqual(none.exception.code, "previous_response_not_found")

    @asks("responses", "tools")
    def test_responses_tools(self):
        tool = {"type": "function", "name": "weather", "parameters": WEATHER, "strict": False}
        turns = [
            {"role": "user", "content": "How is the weather in Rome?"},
            {"type": "function_call", "call_id": "c1", "name": "weather", "arguments": '{"city":"Rome"}'},
            {"type": "function_call_output", "call_id": "c1", "output": "sunny"},
        ]
        said = self.api.responses.create(model=self.models["tools"], input=turns, tools=[tool], max_output_tokens=16)
        self.assertTrue({item.type for item in said.output} <= {"message", "function_call", "reasoning"})
        self.assertEqual(said.tools[0].name, "weather")

    @asks("responses", "schema")
    def test_responses_schema(self):
        form = {"format": {"type": "json_schema", "name": "answer", "schema": SCHEMA, "strict": True}}
        said = self.api.responses.create(model=self.models["chat"], input="Is it?", text=form, max_output_tokens=40)
        self.assertIn(json.loads(said.output_text)["answer"], ("yes", "no"))

    @asks("responses", "errors")
    def test_responses_errors(self):
        with self.assertRaises(openai.NotFoundError) as none:
            self.api.responses.create(model="no-such-model", input="x")
        self.assertEqual(none.exception.code, "model_not_found")
        with self.assertRaises(openai.BadRequestError) as wrong:
            self.api.responses.create(model=self.models["chat"], input=7)
        self.assertEqual(wrong.exception.param, "input")
        with self.assertRaises(openai.NotFoundError):
            self.api.post("/responses/compact", body={"model": self.models["chat"]}, cast_to=object)

    @asks("responses", "image refused")
    def test_responses_image(self):
        image = {"type": "input_image", "image_url": f"data:image/png;base64,{PNG}", "detail": "auto"}
        with self.assertRaises(openai.BadRequestError):
            self.api.responses.create(model=self.models["chat"], input=[{"role": "user", "content": [image]}])

    @asks("responses", "prompt too long")
    def test_responses_too_long(self):
        with self.assertRaises(openai.BadRequestError) as refused:
            self.api.responses.create(model=self.models["chat"], input=TOO_LONG, max_output_tokens=16)
        self.assertEqual(refused.exception.code, "context_length_exceeded")
