"""Requests byte for byte as an agent sends them, past any SDK, and the order in which each dialect has to tell an answer."""

import http.client
import json
from urllib.parse import urlsplit

from judged import ROOT

# Two noisy processors read a prompt of some hundred tokens.
LIMIT_S = 150


def send(method, path, headers, body=None):
    """Status, headers and body of an answer."""
    door = http.client.HTTPConnection(urlsplit(ROOT).netloc, timeout=LIMIT_S)
    try:
        door.request(method, path, body, headers)
        answer = door.getresponse()
        return answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
    finally:
        door.close()


def events(test, raw):
    """The events of a stream: each has a name, one line of JSON whose type is that name, and an empty line behind it."""
    text = raw.decode()
    test.assertTrue(text.endswith("\n\n"), "the last event is cut off")
    told = []
    for part in text.removesuffix("\n\n").split("\n\n"):
        lines = [line for line in part.split("\n") if not line.startswith(":")]
        if not lines:
            continue
        test.assertEqual([line.split(": ", 1)[0] for line in lines], ["event", "data"], part)
        data = json.loads(lines[1].split(": ", 1)[1])
        test.assertEqual(lines[0].split(": ", 1)[1], data["type"])
        told.append(data)
    return told


def message(test, told):
    """The message that a stream of Messages tells, as an agent puts it together."""
    told = [event for event in told if event["type"] != "ping"]
    test.assertEqual([event["type"] for event in (told[0], *told[-2:])], ["message_start", "message_delta", "message_stop"])
    said = told[0]["message"]
    test.assertEqual((said["type"], said["role"], said["content"], said["stop_reason"]), ("message", "assistant", [], None))
    blocks, pieces, is_open = [], [], False
    for event in told[1:-2]:
        kind = event["type"]
        if kind == "content_block_start":
            test.assertFalse(is_open, "a block opens before the one before it is closed")
            blocks.append(event["content_block"])
            pieces.append("")
            is_open = True
        else:
            test.assertTrue(is_open, f"{kind} without a block")
        test.assertEqual(event["index"], len(blocks) - 1)
        if kind == "content_block_delta":
            delta = event["delta"]
            piece = {"text": "text_delta", "thinking": "thinking_delta", "tool_use": "input_json_delta"}[blocks[-1]["type"]]
            test.assertIn(delta["type"], (piece, "signature_delta"))
            pieces[-1] += delta.get("text") or delta.get("thinking") or delta.get("partial_json") or ""
        elif kind == "content_block_stop":
            is_open = False
        else:
            test.assertEqual(kind, "content_block_start")
    test.assertFalse(is_open, "the last block is not closed")
    said["content"] = blocks
    said["stop_reason"] = told[-2]["delta"]["stop_reason"]
    for block, piece in zip(blocks, pieces):
        if block["type"] == "tool_use":
            test.assertEqual(block["input"], {}, "the arguments come in pieces")
            # One that was cut is no JSON, and the reason says that it was cut.
            block["input"] = json.loads(piece or "{}") if said["stop_reason"] != "max_tokens" else {}
        else:
            block[block["type"]] += piece
    calls = [block["id"] for block in blocks if block["type"] == "tool_use"]
    test.assertEqual(len(set(calls)), len(calls))
    test.assertTrue(all(calls))
    reasons = ("tool_use", "max_tokens") if calls else ("end_turn", "max_tokens")
    test.assertIn(said["stop_reason"], reasons)
    # What stands in the last but one is what counts: it is the whole, and takes the place of what was said at the start.
    for key in ("input_tokens", "output_tokens"):
        test.assertGreater(told[-2]["usage"][key], 0)
    return said


# What the pieces of an item are called, and where the whole stands when it is done.
PIECES = {
    "response.output_text": "text",
    "response.reasoning_text": "text",
    "response.reasoning_summary_text": "text",
    "response.function_call_arguments": "arguments",
    "response.custom_tool_call_input": "input",
}


def response(test, told):
    """The response that a stream of Responses tells. Its items are held against the events before."""
    test.assertEqual([event["sequence_number"] for event in told], list(range(len(told))))
    kinds = [event["type"] for event in told]
    test.assertEqual(kinds[:2], ["response.created", "response.in_progress"])
    test.assertIn(kinds[-1], ("response.completed", "response.incomplete"))
    test.assertFalse({"response.completed", "response.incomplete", "response.failed", "error"} & set(kinds[:-1]))
    items, opened, heard, ended = [], None, {}, set()
    for event in told[2:-1]:
        kind = event["type"]
        if kind == "response.in_progress":
            continue
        test.assertEqual(event["output_index"], len(items), kind)
        if kind == "response.output_item.added":
            test.assertIsNone(opened, "an item opens before the one before it is done")
            opened, heard, ended = event["item"], {}, set()
            continue
        test.assertIsNotNone(opened, f"{kind} without an item")
        test.assertEqual(event.get("item_id", opened["id"]), opened["id"])
        piece, _, step = kind.rpartition(".")
        if step == "delta":
            heard[piece] = heard.get(piece, "") + event["delta"]
        elif piece in PIECES:
            test.assertEqual(event[PIECES[piece]], heard.get(piece, ""), kind)
            ended.add(piece)
        elif kind == "response.output_item.done":
            item = event["item"]
            test.assertEqual([item[key] for key in ("id", "type")], [opened[key] for key in ("id", "type")])
            test.assertEqual(item.get("call_id"), opened.get("call_id"))
            test.assertLessEqual(set(heard), ended, "pieces without their end")
            for piece in ended & {"response.function_call_arguments", "response.custom_tool_call_input"}:
                test.assertEqual(item[PIECES[piece]], heard.get(piece, ""))
            items.append(item)
            opened = None
    test.assertIsNone(opened, "the last item is not done")
    said = told[-1]["response"]
    test.assertEqual(said["output"], items, "the whole tells other items than the events")
    test.assertEqual(said["id"], told[0]["response"]["id"])
    test.assertEqual(said["status"], kinds[-1].removeprefix("response."))
    usage = said["usage"]
    test.assertEqual(usage["total_tokens"], usage["input_tokens"] + usage["output_tokens"])
    calls = [item["call_id"] for item in items if "call_id" in item]
    test.assertEqual(len(set(calls)), len(calls))
    test.assertTrue(all(calls))
    return said
