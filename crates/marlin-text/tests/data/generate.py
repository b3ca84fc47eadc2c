"""Makes byte_level.json and scores.json: two small vocabularies and the ids that llama.cpp gives for odd
texts.

The vocabularies are trained here, on the text given (the shipped ones: tiny Shakespeare, public domain) and
the texts below. Used: Python 3.11, llama-cpp-python 0.3.36, gguf 0.19.0, tokenizers 0.23.3, sentencepiece
0.2.3.

    python3 generate.py TRAINING_TEXT
"""

import io
import json
import pathlib
import sys
import tempfile
import unicodedata

import gguf
import llama_cpp
import sentencepiece
from texts import TEXTS
from tokenizers import Regex, Tokenizer, models, pre_tokenizers, trainers

HERE = pathlib.Path(__file__).parent
PRES = [
    "default",
    "llama-bpe",
    "smaug-bpe",
    "glm4",
    "gpt-2",
    "smollm",
    "qwen2",
    "stablelm2",
    "qwen35",
    "deepseek-llm",
    "deepseek-coder",
    "deepseek-v3",
    "falcon",
    "tekken",
    "gpt-4o",
]
CONTROL, USER, NORMAL, UNKNOWN, BYTE = 3, 4, 1, 2, 6
SPECIAL = {
    "<|begin|>": CONTROL,
    "<|im_start|>": CONTROL,
    "<|im_end|>": CONTROL,
    "<think>": USER,
    "</think>": USER,
}


def write_gguf(path, vocab):
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(32)
    writer.add_block_count(1)
    writer.add_feed_forward_length(32)
    writer.add_head_count(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_tokenizer_model(vocab["model"])
    writer.add_token_list(vocab["tokens"])
    writer.add_token_types(vocab["types"])
    if vocab["model"] == "gpt2":
        writer.add_tokenizer_pre(vocab["pre"])
        writer.add_token_merges(vocab["merges"])
    else:
        writer.add_token_scores(vocab["scores"])
        writer.add_unk_token_id(vocab["unk"])
        writer.add_add_space_prefix(vocab["add_space_prefix"])
    writer.add_add_bos_token(True)
    writer.add_bos_token_id(vocab["bos"])
    writer.add_eos_token_id(vocab["eos"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.close()


def llama_ids(vocab):
    """For each text the ids with BOS and parsed control tokens, and those with neither."""
    # Their publisher's tokenizer.json normalizes; llama.cpp leaves that to its caller.
    nfc = vocab.get("pre") in ("qwen2", "qwen35")
    texts = [unicodedata.normalize("NFC", text) if nfc else text for text in TEXTS]
    with tempfile.TemporaryDirectory() as folder:
        path = str(pathlib.Path(folder) / "vocab.gguf")
        write_gguf(path, vocab)
        model = llama_cpp.Llama(path, vocab_only=True, verbose=False)
        return [
            [
                model.tokenize(text.encode(), add_bos=on, special=on) if text or on else []
                for on in (True, False)
            ]
            for text in texts
        ]


def byte_level(training):
    tokenizer = Tokenizer(models.BPE())
    split = r"[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(split), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    trainer = trainers.BpeTrainer(
        vocab_size=900, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), show_progress=False
    )
    tokenizer.train_from_iterator([training] + TEXTS * 5, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    tokens = sorted(model["vocab"], key=model["vocab"].get)
    types = [NORMAL] * len(tokens) + list(SPECIAL.values())
    tokens += SPECIAL
    return {
        "model": "gpt2",
        "tokens": tokens,
        "types": types,
        "merges": [" ".join(pair) for pair in model["merges"]],
        "bos": tokens.index("<|begin|>"),
        "eos": tokens.index("<|im_end|>"),
    }


def scores(training):
    out = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(training.split("\n\n") + TEXTS * 5),
        model_writer=out,
        model_type="bpe",
        vocab_size=900,
        byte_fallback=True,
        control_symbols=["<|im_start|>", "<|im_end|>"],
        user_defined_symbols=["<think>", "</think>"],
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        character_coverage=0.999,
        minloglevel=2,
    )
    model = sentencepiece.SentencePieceProcessor(model_proto=out.getvalue())
    ids = range(model.get_piece_size())
    tokens = [model.id_to_piece(i) for i in ids]

    def kind(i):
        if model.is_unknown(i):
            return UNKNOWN
        if model.is_control(i):
            return CONTROL
        if model.is_byte(i):
            return BYTE
        return USER if tokens[i] in SPECIAL else NORMAL

    return {
        "model": "llama",
        "tokens": tokens,
        "types": [kind(i) for i in ids],
        "scores": [round(model.get_score(i), 3) for i in ids],
        "bos": model.bos_id(),
        "eos": model.eos_id(),
        "unk": model.unk_id(),
    }


def save(name, vocab, ids):
    lines = ",\n".join(
        f"{json.dumps(key)}: {json.dumps(value, ensure_ascii=False)}" for key, value in vocab.items()
    )
    rows = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in ids.items())
    texts = json.dumps(TEXTS)
    (HERE / name).write_text(f'{{"vocab": {{\n{lines}}},\n"texts": {texts},\n"ids": {{\n{rows}}}}}\n')


def main():
    training = pathlib.Path(sys.argv[1]).read_text()
    vocab = byte_level(training)
    save("byte_level.json", vocab, {pre: llama_ids(vocab | {"pre": pre}) for pre in PRES})
    vocab = scores(training)
    rows = {
        name: llama_ids(vocab | {"add_space_prefix": prefix})
        for name, prefix in [("space prefix", True), ("no space prefix", False)]
    }
    save("scores.json", vocab, rows)


main()
