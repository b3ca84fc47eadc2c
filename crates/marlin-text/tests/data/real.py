"""Makes goldens of real vocabularies, which are not shipped: tests/real_vocabularies.rs reads them from a
directory.

A .gguf is encoded by llama.cpp (without and with control tokens parsed), a tokenizer.json by Hugging Face's
tokenizers. Same versions as generate.py; TEXT is any UTF-8 file, of which 400 stretches are taken.

    python3 real.py OUT_DIRECTORY TEXT VOCABULARY...
"""

import json
import pathlib
import random
import sys
import unicodedata

import gguf
import llama_cpp
import tokenizers

from texts import TEXTS


def stretches(text, rng):
    for _ in range(400):
        start = rng.randrange(len(text))
        yield text[start : start + rng.randrange(1, 400)]


def scrambles(rng):
    """Random mixes of scripts, spaces, marks and punctuation."""
    alphabet = "aZé ß\u0301\u0915\u093f中あ한٣9½🙂👍🏽\u200d\t\n\r\u00a0\u3000.,!'\"_-/\\<|>{}#@ſK"
    for _ in range(400):
        yield "".join(
            rng.choice(alphabet) * rng.choice((1, 1, 1, 2, 3, 7)) for _ in range(rng.randrange(1, 40))
        )


def gguf_vocab(path):
    fields = gguf.GGUFReader(path).fields

    def get(key):
        field = fields.get("tokenizer.ggml." + key)
        return None if field is None else field.contents()

    return {
        "model": get("model"),
        "pre": get("pre"),
        "tokens": get("tokens"),
        "types": get("token_type"),
        "scores": get("scores"),
        "merges": get("merges"),
        "bos": get("bos_token_id"),
        "eos": get("eos_token_id"),
        "unk": get("unknown_token_id"),
        "add_bos": get("add_bos_token"),
        "add_eos": get("add_eos_token"),
        "add_space_prefix": get("add_space_prefix"),
    }


def gguf_golden(path, texts):
    vocab = gguf_vocab(path)
    if vocab["pre"] in ("qwen2", "qwen35"):
        texts = [unicodedata.normalize("NFC", text) for text in texts]
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    encode = lambda text, on: model.tokenize(text.encode(), add_bos=on, special=on) if text or on else []
    return {
        "vocab": vocab,
        "texts": texts,
        "ids": {"llama.cpp": [[encode(t, on) for on in (True, False)] for t in texts]},
    }


def json_golden(path, texts):
    parsing, literal = (tokenizers.Tokenizer.from_file(str(path)) for _ in range(2))
    literal.encode_special_tokens = True
    encode = lambda text: [
        parsing.encode(text, add_special_tokens=True).ids,
        literal.encode(text, add_special_tokens=False).ids,
    ]
    return {
        "tokenizer_json": str(path.resolve()),
        "texts": texts,
        "ids": {"huggingface": [encode(t) for t in texts]},
    }


def main():
    out, text, *paths = map(pathlib.Path, sys.argv[1:])
    for path in paths:
        rng = random.Random(7)
        texts = TEXTS + list(stretches(text.read_text(), rng)) + list(scrambles(rng))
        inputs = path.with_name(path.name + ".inp")
        if inputs.exists():
            texts += inputs.read_text().split("\n__ggml_vocab_test__\n")
        golden = json_golden(path, texts) if path.suffix == ".json" else gguf_golden(path, texts)
        name = path.parent.parent.name if path.suffix == ".json" else path.name
        (out / f"{name}.json").write_text(json.dumps(golden))
        print(name, len(texts), "texts")


main()
