"""Makes a tiny model: the beginning of the vocabulary and the chat template of a real one, and few weights, which are random but
always the same.

    tiny_model.py REAL.gguf TINY.gguf

What llama.cpp's tests hold fast is form, length and streaming of answers, never their sense; a real model needs a hundred times as long
for it, and ends its answers early. With gguf-py, the package of the source of llama.cpp, on PYTHONPATH."""

import sys

import gguf
import numpy

# The models that the tests were written for have 512 words, so that their prompts are many tokens.
WORDS = 1024
BLOCKS, WIDTH, HEADS, HEADS_KV, FEED_FORWARD = 2, 64, 4, 2, 128
SIZES = {
    "llama.block_count": BLOCKS,
    "llama.embedding_length": WIDTH,
    "llama.feed_forward_length": FEED_FORWARD,
    "llama.attention.head_count": HEADS,
    "llama.attention.head_count_kv": HEADS_KV,
    "llama.rope.dimension_count": WIDTH // HEADS,
    "general.file_type": int(gguf.LlamaFileType.MOSTLY_F16),
}


def likely(token):
    """Letters that make no text are not answered, nor is the end: answers are as long as they may be. A grammar has both all the same."""
    text = token.replace("\u0120", " ")
    if not (text.isascii() and text.isprintable()) or text.startswith("<"):
        return -10
    # Else no string of JSON would ever end.
    return 0.5 if '"' in text else 0


def main(real, tiny):
    reader = gguf.GGUFReader(real)
    writer = gguf.GGUFWriter(tiny, "llama")
    tokens = reader.fields["tokenizer.ggml.tokens"].contents()[:WORDS]
    # Tokens stand in the order of the merges that make them, behind letters and marks.
    known = set(tokens)
    merges = [
        one
        for one in reader.fields["tokenizer.ggml.merges"].contents()
        if {*one.split(" "), one.replace(" ", "")} <= known
    ]
    cut = {
        "tokenizer.ggml.tokens": tokens,
        "tokenizer.ggml.token_type": reader.fields["tokenizer.ggml.token_type"].contents()[:WORDS],
        "tokenizer.ggml.merges": merges,
        "llama.vocab_size": WORDS,
    }
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        of = field.types[1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, (SIZES | cut).get(field.name, field.contents()), field.types[0], sub_type=of)
    random = numpy.random.default_rng(42)

    def weights(name, *shape, first=None):
        """`first`: what stands in the first row, or with one value for each row, in the first column."""
        values = random.normal(0, 0.1, shape)
        if numpy.isscalar(first):
            values[0] = first
        elif first is not None:
            values[:, 0] = first
        writer.add_tensor(name, values.astype(numpy.float16))

    def ones(name):
        writer.add_tensor(name, numpy.ones(WIDTH, dtype=numpy.float32))

    # The first of what a word is made of is always 1 and nothing adds to it, so that it says how likely each answer is.
    weights("token_embd.weight", WORDS, WIDTH, first=numpy.ones(WORDS))
    ones("output_norm.weight")
    # Of its own: were it the same as the embedding, each word would be followed by itself.
    weights("output.weight", WORDS, WIDTH, first=numpy.array([likely(one) for one in tokens]))
    for block in range(BLOCKS):
        beside = WIDTH * HEADS_KV // HEADS
        ones(f"blk.{block}.attn_norm.weight")
        weights(f"blk.{block}.attn_q.weight", WIDTH, WIDTH)
        weights(f"blk.{block}.attn_k.weight", beside, WIDTH)
        weights(f"blk.{block}.attn_v.weight", beside, WIDTH)
        weights(f"blk.{block}.attn_output.weight", WIDTH, WIDTH, first=0)
        ones(f"blk.{block}.ffn_norm.weight")
        weights(f"blk.{block}.ffn_gate.weight", FEED_FORWARD, WIDTH)
        weights(f"blk.{block}.ffn_up.weight", FEED_FORWARD, WIDTH)
        weights(f"blk.{block}.ffn_down.weight", WIDTH, FEED_FORWARD, first=0)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


main(*sys.argv[1:])
