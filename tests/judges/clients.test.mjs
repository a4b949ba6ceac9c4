// The official packages for Node. The variables are those of judged.py. The packages lie outside of the tree: tools/judges.sh puts a
// copy of this file beside them.

import Anthropic from "@anthropic-ai/sdk";
import assert from "node:assert/strict";
import { appendFileSync } from "node:fs";
import { test } from "node:test";
import OpenAI from "openai";

const gateway = process.env.JUDGES_GATEWAY;
const timeout = 60_000;
const options = { apiKey: "none-is-needed", maxRetries: 0, timeout };
const openai = new OpenAI({ ...options, baseURL: gateway });
const anthropic = new Anthropic({ ...options, baseURL: gateway.replace(/\/v1$/, "") });
const hello = [{ role: "user", content: "Say hello." }];
const schema = {
    type: "object",
    properties: { answer: { type: "string", enum: ["yes", "no"] } },
    required: ["answer"],
    additionalProperties: false,
};
const weather = { type: "object", properties: { city: { type: "string" } }, required: ["city"] };

function judge(client, dialect, what, server, body) {
    test(`${client}, ${dialect}, ${what}, ${server}`, { timeout: 90_000 }, async () => {
        let verdict = "no";
        try {
            await body();
            verdict = "yes";
        } finally {
            appendFileSync(process.env.JUDGES_FOUND, `${JSON.stringify({ client, dialect, what, server, verdict })}\n`);
        }
    });
}

for (const [server, models] of Object.entries(JSON.parse(process.env.JUDGES_MODELS))) {
    const model = models.chat;
    const one = (dialect, what, body) => judge("openai (Node)", dialect, what, server, body);
    const other = (what, body) => judge("anthropic (Node)", "messages", what, server, body);

    one("chat", "whole", async () => {
        const { data, response } = await openai.chat.completions
            .create({ model, messages: hello, max_tokens: 12 })
            .withResponse();
        assert.equal(response.headers.get("x-pilothouse-server"), server);
        assert.equal(data.object, "chat.completion");
        assert.ok(["stop", "length"].includes(data.choices[0].finish_reason));
        assert.ok(data.usage.completion_tokens > 0);
    });
    one("chat", "stream", async () => {
        const stream = openai.chat.completions.stream({ model, messages: hello, max_tokens: 12 });
        const final = await stream.finalChatCompletion();
        assert.ok(final.choices[0].message.content);
        assert.ok(["stop", "length"].includes(final.choices[0].finish_reason));
    });
    one("chat", "tools", async () => {
        const tools = [{ type: "function", function: { name: "weather", parameters: weather } }];
        const said = await openai.chat.completions.create({ model: models.tools, messages: hello, tools, max_tokens: 12 });
        assert.ok(["stop", "length", "tool_calls"].includes(said.choices[0].finish_reason));
    });
    one("chat", "schema", async () => {
        const response_format = { type: "json_schema", json_schema: { name: "answer", schema, strict: true } };
        const said = await openai.chat.completions.parse({ model, messages: hello, response_format, max_tokens: 40 });
        assert.ok(["yes", "no"].includes(JSON.parse(said.choices[0].message.content).answer));
    });
    one("chat", "errors", async () => {
        const asked = openai.chat.completions.create({ model: "no-such-model", messages: hello });
        await assert.rejects(asked, (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found");
    });
    one("embeddings", "numbers and base64", async () => {
        const packed = await openai.embeddings.create({ model: models.embeddings, input: "a" });
        const plain = await openai.embeddings.create({ model: models.embeddings, input: "a", encoding_format: "float" });
        assert.deepEqual([packed.data[0].embedding.length, plain.data[0].embedding.length], [384, 384]);
    });
    one("responses", "whole", async () => {
        const said = await openai.responses.create({ model, input: "Say hello.", max_output_tokens: 16 });
        assert.equal(said.object, "response");
        assert.equal(said.output[0].type, "message");
        assert.ok(said.output_text);
    });
    one("responses", "stream", async () => {
        const stream = openai.responses.stream({ model, input: "Say hello.", max_output_tokens: 16 });
        const kinds = [];
        for await (const event of stream) kinds.push(event.type);
        assert.equal(kinds[0], "response.created");
        assert.ok(["response.completed", "response.incomplete"].includes(kinds.at(-1)));
        assert.ok((await stream.finalResponse()).output_text);
    });
    one("responses", "previous_response_id", async () => {
        const first = await openai.responses.create({ model, input: "I am Ada.", max_output_tokens: 16 });
        const next = { model, input: "And now?", previous_response_id: first.id, max_output_tokens: 16 };
        assert.equal((await openai.responses.create(next)).previous_response_id, first.id);
    });

    other("whole", async () => {
        const said = await anthropic.messages.create({ model, messages: hello, max_tokens: 12 });
        assert.deepEqual([said.type, said.role, said.content[0].type], ["message", "assistant", "text"]);
        assert.ok(["end_turn", "max_tokens"].includes(said.stop_reason));
    });
    other("stream", async () => {
        const stream = anthropic.messages.stream({ model, messages: hello, max_tokens: 12 });
        let told = "";
        stream.on("text", (text) => (told += text));
        assert.equal((await stream.finalMessage()).content[0].text, told);
    });
    other("tools", async () => {
        const tools = [{ name: "weather", input_schema: weather }];
        const said = await anthropic.messages.create({ model: models.tools, messages: hello, tools, max_tokens: 12 });
        assert.ok(["end_turn", "max_tokens", "tool_use"].includes(said.stop_reason));
    });
    other("count_tokens", async () => {
        assert.ok((await anthropic.messages.countTokens({ model, messages: hello })).input_tokens > 0);
    });
    other("errors", async () => {
        const asked = anthropic.messages.create({ model: "no-such-model", messages: hello, max_tokens: 4 });
        const told = (error) => error instanceof Anthropic.NotFoundError && error.error.error.type === "not_found_error";
        await assert.rejects(asked, told);
    });
}
