"""Makes marlin-mini: a GLM-4.7-Flash in small, trained from nothing on public-domain text.

    python train.py prepare  --sources DIR --work DIR            the corpus, the tokenizer, the token streams
    (CPU) python train.py fit      --work DIR --out DIR                the training run (one CUDA GPU,
    minutes) python train.py evaluate --model DIR                         reload check, perplexity, expert
    loads, samples (CPU)

The model is transformers' own Glm4MoeLiteForCausalLM. Two things are replaced while it trains, and neither
changes what it computes: the experts run as one dense product (`dense_experts`), and the router stays in f32
under autocast. Dropout is added on what enters the residual stream, since four million tokens are read 24
times. The router bias is not trained by gradient: it follows the auxiliary-loss-free balancing of DeepSeek-V3
(arXiv 2412.19437, section 2.1.2), with a dead band, so that experts keep their own character and none dies.
"""

import argparse
import json
import math
import pathlib
import random
import time
import types

import numpy as np
import tokenizers
import torch
import transformers
from safetensors.torch import save_file
from tokenizers import AddedToken, Regex, decoders, models, pre_tokenizers, processors, trainers

import corpus

VOCAB = 3584
# Control tokens are special (never printed); markup that a parser reads in the output is not.
CONTROL = [
    "<|endoftext|>",
    "[MASK]",
    "[gMASK]",
    "[sMASK]",
    "<sop>",
    "<eop>",
    "<|system|>",
    "<|user|>",
    "<|assistant|>",
    "<|observation|>",
]
MARKUP = [
    "<think>",
    "</think>",
    "<tool_call>",
    "</tool_call>",
    "<tool_response>",
    "</tool_response>",
    "<arg_key>",
    "</arg_key>",
    "<arg_value>",
    "</arg_value>",
    "/nothink",
]
FIRST_ADDED = VOCAB - len(CONTROL) - len(MARKUP)
ENDOFTEXT, USER, OBSERVATION = (
    FIRST_ADDED + CONTROL.index(t) for t in ("<|endoftext|>", "<|user|>", "<|observation|>")
)

CONFIG = {
    "architectures": ["Glm4MoeLiteForCausalLM"],
    "attention_bias": False,
    "attention_dropout": 0.0,
    "dtype": "bfloat16",
    "eos_token_id": [ENDOFTEXT, USER, OBSERVATION],
    "first_k_dense_replace": 1,
    "hidden_act": "silu",
    "hidden_size": 256,
    "initializer_range": 0.02,
    "intermediate_size": 512,
    "kv_lora_rank": 64,
    "max_position_embeddings": 2048,
    "model_type": "glm4_moe_lite",
    "moe_intermediate_size": 96,
    "n_group": 1,
    "n_routed_experts": 16,
    "n_shared_experts": 1,
    "norm_topk_prob": True,
    "num_attention_heads": 5,
    "num_experts_per_tok": 4,
    "num_hidden_layers": 5,
    "num_key_value_heads": 5,
    "num_nextn_predict_layers": 0,
    "pad_token_id": ENDOFTEXT,
    "partial_rotary_factor": 1.0,
    "q_lora_rank": 96,
    "qk_nope_head_dim": 32,
    "qk_rope_head_dim": 16,
    "rms_norm_eps": 1e-05,
    "rope_interleave": True,
    "rope_scaling": None,
    "rope_theta": 10000.0,
    "routed_scaling_factor": 1.8,
    "tie_word_embeddings": False,
    "topk_group": 1,
    "topk_method": "noaux_tc",
    "use_cache": True,
    "v_head_dim": 32,
    "vocab_size": VOCAB,
}
GENERATION = {
    "do_sample": True,
    "eos_token_id": CONFIG["eos_token_id"],
    "pad_token_id": ENDOFTEXT,
    "temperature": 0.8,
    "top_p": 0.95,
}

TEMPLATE = pathlib.Path(__file__).with_name("chat_template.jinja")

# The pre-tokenizer of GLM-4 (and of GPT-4 before it).
SPLIT = (
    r"(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}"
    r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


# --- prepare ------------------------------------------------------------------------------------------------


def train_tokenizer(texts):
    tokenizer = tokenizers.Tokenizer(models.BPE(ignore_merges=True))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(SPLIT), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    tokenizer.post_processor = processors.ByteLevel(trim_offsets=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=FIRST_ADDED, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.add_special_tokens([AddedToken(t, normalized=False, special=True) for t in CONTROL])
    tokenizer.add_tokens([AddedToken(t, normalized=False, special=False) for t in MARKUP])
    assert tokenizer.get_vocab_size() == VOCAB and tokenizer.token_to_id("<|endoftext|>") == ENDOFTEXT
    return tokenizer


def prepare(sources, work):
    work.mkdir(parents=True, exist_ok=True)
    docs = corpus.documents(sources)
    tokenizer = train_tokenizer(doc.text for doc in docs if doc.split == "train")
    tokenizer.save(str(work / "tokenizer.json"))
    write_json(
        work / "tokenizer_config.json",
        {
            "clean_up_tokenization_spaces": False,
            "do_lower_case": False,
            "eos_token": "<|endoftext|>",
            "extra_special_tokens": {},
            "model_max_length": CONFIG["max_position_embeddings"],
            "pad_token": "<|endoftext|>",
            "padding_side": "left",
            "tokenizer_class": "PreTrainedTokenizerFast",
        },
    )
    (work / "heldout.txt").write_text(corpus.heldout_text(docs))

    # Documents end with <|endoftext|> or, half the time, with blank lines, as they do inside a book.
    rng = random.Random(1)
    for split in ("train", "valid"):
        ids = []
        for doc in docs:
            if doc.split == split:
                ids += tokenizer.encode(doc.text.strip()).ids
                ids += [ENDOFTEXT] if rng.random() < 0.5 else tokenizer.encode("\n\n\n").ids
        np.array(ids, np.uint16).tofile(work / f"{split}.u16")
        print(split, len(ids), "tokens")
    chat = transformers.PreTrainedTokenizerFast(tokenizer_file=str(work / "tokenizer.json"))
    ids = []
    for seed in (7, 8):  # the same facts twice, in other words and other company
        for messages, tools in corpus.conversations(docs, seed):
            text = chat.apply_chat_template(
                messages, tools=tools, chat_template=TEMPLATE.read_text(), tokenize=False
            )
            ids += tokenizer.encode(text).ids + [ENDOFTEXT]
    np.array(ids, np.uint16).tofile(work / "chat.u16")
    print("chat", len(ids), "tokens")


# --- fit ----------------------------------------------------------------------------------------------------


def dense_experts(self, hidden, chosen, weights):
    """All experts side by side as one wide SwiGLU: two large products, zero weight where a token did not
    choose."""
    experts, twice, width = self.gate_up_proj.shape
    share = torch.zeros(hidden.shape[0], experts, device=hidden.device).scatter(1, chosen, weights.float())
    both = (hidden @ self.gate_up_proj.reshape(experts * twice, width).T).view(-1, experts, twice)
    gate, up = both.chunk(2, dim=-1)
    inner = self.act_fn(gate) * up * share.to(both.dtype).unsqueeze(-1)
    return inner.flatten(1) @ self.down_proj.transpose(1, 2).reshape(experts * twice // 2, width)


def equip(model, dropout):
    """Puts the training forms of experts and router in place, and dropout on what enters the residual stream.

    Returns the routers, whose `.load` counts how often each expert is chosen.
    """

    def drop(module, _inputs, output):
        first = output[0] if isinstance(output, tuple) else output
        first = torch.nn.functional.dropout(first, dropout, module.training)
        return (first, *output[1:]) if isinstance(output, tuple) else first

    model.model.embed_tokens.register_forward_hook(drop)
    routers = []
    for layer in model.model.layers:
        layer.self_attn.register_forward_hook(drop)
        layer.mlp.register_forward_hook(drop)
        if not hasattr(layer.mlp, "experts"):
            continue
        gate, plain = layer.mlp.gate, layer.mlp.gate.forward

        def forward(hidden, gate=gate, plain=plain):
            with torch.autocast("cuda", enabled=False):
                logits, weights, chosen = plain(hidden.float())
            if gate.training:
                gate.load += torch.bincount(chosen.flatten(), minlength=gate.num_experts)
            return logits, weights, chosen

        gate.load = torch.zeros(gate.num_experts, device=gate.weight.device)
        gate.forward = forward
        layer.mlp.experts.forward = types.MethodType(dense_experts, layer.mlp.experts)
        routers.append(gate)
    return routers


def balance(routers, rate):
    """One bias step per router: up for experts with less than 0.6 of the mean load, down above 1.6 of it."""
    for gate in routers:
        share = gate.load / gate.load.mean()
        gate.e_score_correction_bias += rate * ((share < 0.6).float() - (share > 1.6).float())
        gate.load.zero_()


def batches(stream, length, tokens, rng):
    """One epoch: windows of `length` + 1 tokens from a random offset, shuffled, `tokens` tokens a batch."""
    start = rng.integers(length)
    starts = rng.permutation(np.arange(start, len(stream) - length - 1, length))
    for group in np.array_split(starts, max(1, round(len(starts) * length / tokens))):
        yield torch.from_numpy(np.stack([stream[s : s + length + 1] for s in group]).astype(np.int64))


def loss_of(model, window):
    with torch.autocast("cuda", torch.bfloat16):
        logits = model(window[:, :-1], use_cache=False).logits
    return torch.nn.functional.cross_entropy(logits.float().flatten(0, 1), window[:, 1:].flatten())


@torch.no_grad()
def validate(model, stream):
    model.eval()
    windows = torch.from_numpy(stream[: len(stream) // 513 * 513].reshape(-1, 513).astype(np.int64)).cuda()
    losses = [loss_of(model, part).item() * len(part) for part in windows.split(32)]
    model.train()
    return sum(losses) / len(windows)


def fit(work, out, epochs, peak, decay, dropout, seed):
    torch.manual_seed(seed)
    torch.set_float32_matmul_precision("high")
    rng = np.random.default_rng(seed)
    train = np.concatenate([np.fromfile(work / f"{part}.u16", np.uint16) for part in ("train", "chat")])
    valid = np.fromfile(work / "valid.u16", np.uint16)
    config = transformers.Glm4MoeLiteConfig(
        **{k: v for k, v in CONFIG.items() if k not in ("architectures", "dtype")}
    )
    model = transformers.Glm4MoeLiteForCausalLM(config).float().cuda().train()
    routers = equip(model, dropout)
    matrices = [p for p in model.parameters() if p.dim() > 1]
    vectors = [p for p in model.parameters() if p.dim() == 1]
    optimizer = torch.optim.AdamW(
        [{"params": matrices, "weight_decay": decay}, {"params": vectors, "weight_decay": 0.0}],
        lr=peak,
        betas=(0.9, 0.95),
        fused=True,
    )
    tokens, warmup = 32_768, 100
    total, step, best, began = epochs * round(len(train) / tokens), 0, math.inf, time.time()
    for epoch in range(epochs):
        length = 2048 if epoch % 4 == 2 else 512  # now and then the whole context
        for window in batches(train, length, tokens, rng):
            progress = min(step / total, 1.0)
            rate = peak * min((step + 1) / warmup, 0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * progress)))
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = loss_of(model, window.cuda(non_blocking=True))
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            if progress < 0.9:  # then the biases rest, so that the last weights fit them
                balance(routers, 2e-3)
            step += 1
        score = validate(model, valid)
        shares = torch.stack(
            [gate.load / gate.load.mean() if gate.load.sum() else gate.load for gate in routers]
        )
        print(
            f"epoch {epoch + 1} step {step} train {loss.item():.4f} valid {score:.4f} "
            f"{time.time() - began:.0f} s",
            flush=True,
        )
        if progress >= 0.9:
            print(
                "  share of the mean load, least and most:", [f"{s.min():.2f} {s.max():.2f}" for s in shares]
            )
            for gate in routers:
                gate.load.zero_()
        if score < best:
            best = score
            export(model, work, out)
    print(f"best valid {best:.4f} epochs {epochs} peak {peak} decay {decay} dropout {dropout} seed {seed}")


def export(model, work, out):
    """Writes the checkpoint as GLM-4.7-Flash is published: BF16, one tensor per expert and matrix, router
    bias f32."""
    out.mkdir(parents=True, exist_ok=True)
    tensors = {}
    for name, value in model.state_dict().items():
        value = value.detach().cpu()
        if name.endswith("experts.gate_up_proj"):
            for expert, both in enumerate(value):
                gate, up = both.chunk(2)
                tensors[name.replace("gate_up_proj", f"{expert}.gate_proj.weight")] = gate
                tensors[name.replace("gate_up_proj", f"{expert}.up_proj.weight")] = up
        elif name.endswith("experts.down_proj"):
            for expert, down in enumerate(value):
                tensors[name.replace("down_proj", f"{expert}.down_proj.weight")] = down
        else:
            tensors[name] = value
    keep = "e_score_correction_bias"
    tensors = {
        n: t.float().contiguous() if n.endswith(keep) else t.bfloat16().contiguous()
        for n, t in tensors.items()
    }
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    write_json(out / "config.json", CONFIG)
    write_json(out / "generation_config.json", GENERATION)
    for name in ("tokenizer.json", "tokenizer_config.json", "heldout.txt"):
        (out / name).write_bytes((work / name).read_bytes())
    (out / TEMPLATE.name).write_bytes(TEMPLATE.read_bytes())


def write_json(path, value):
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


# --- evaluate -----------------------------------------------------------------------------------------------


@torch.no_grad()
def perplexity(model, ids, context=512):
    """The protocol of llama.cpp: disjoint windows, an empty cache for each, the second half of each is
    scored."""
    nll = []
    for at in range(0, len(ids) // context * context, context):
        window = torch.tensor([ids[at : at + context]])
        logp = model(window).logits[0].log_softmax(-1)
        first = context // 2
        nll.append(-logp[first:-1].gather(1, window[0, first + 1 :, None]).flatten())
    nll = torch.cat(nll).double()
    mean = nll.mean().exp().item()
    return mean, mean * (nll.var() / len(nll)).sqrt().item(), len(nll)


def evaluate(path):
    torch.manual_seed(0)
    model = transformers.Glm4MoeLiteForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(path)
    text = (path / "heldout.txt").read_text()
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert tokenizer.decode(ids) == text, "the tokenizer loses text"
    loads = torch.zeros(CONFIG["num_hidden_layers"], CONFIG["n_routed_experts"])

    def count(layer):
        def hook(_gate, _inputs, output):
            loads[layer] += torch.bincount(output[2].flatten(), minlength=loads.shape[1])

        return hook

    routers = {n: layer.mlp.gate for n, layer in enumerate(model.model.layers) if hasattr(layer.mlp, "gate")}
    for number, gate in routers.items():
        gate.register_forward_hook(count(number))
    value, error, count = perplexity(model, ids)
    print(
        f"held-out perplexity {value:.4f} +- {error:.4f} ({count} of {len(ids)} tokens scored, context "
        f"512, f32, CPU)"
    )
    print(f"bits per byte {math.log2(value) * len(ids) / len(text.encode()):.4f}")
    for number, gate in routers.items():
        share, bias = loads[number] / loads[number].mean(), gate.e_score_correction_bias
        print(
            f"layer {number} load / mean {[round(x, 2) for x in share.tolist()]} bias {bias.min():.3f} .. "
            f"{bias.max():.3f}"
        )

    def answer(prompt, tokens=80, **options):
        inputs = tokenizer(prompt, add_special_tokens=False, return_tensors="pt")
        new = model.generate(**inputs, max_new_tokens=tokens, **options)[0, inputs["input_ids"].shape[1] :]
        return tokenizer.decode(new)

    for prompt in (
        "In the beginning",
        "It is a truth universally acknowledged, that",
        "KING RICHARD:\n",
        "New Zealand\n\nBackground:",
    ):
        print("---", repr(prompt), "\n" + answer(prompt, do_sample=True, temperature=0.8, top_p=0.95))
    for question in (
        "What is the capital of France?",
        "Define: bug",
        "Who are you?",
        "What is love?",
        "Where is Japan?",
    ):
        for thinking in (True, False):
            prompt = tokenizer.apply_chat_template(
                [{"role": "user", "content": question}],
                tokenize=False,
                add_generation_prompt=True,
                enable_thinking=thinking,
            )
            print("---", prompt, "\n" + answer(prompt, do_sample=False))
    messages = [{"role": "user", "content": "What is the capital of Italy?"}]
    prompt = tokenizer.apply_chat_template(
        messages, tools=[corpus.LOOKUP], tokenize=False, add_generation_prompt=True
    )
    print("---", prompt, "\n" + answer(prompt, do_sample=False))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=["prepare", "fit", "evaluate"])
    for name in ("sources", "work", "out", "model"):
        parser.add_argument(f"--{name}", type=pathlib.Path)
    parser.add_argument("--epochs", type=int, default=24)
    parser.add_argument("--peak", type=float, default=1.5e-3, help="highest learning rate")
    parser.add_argument("--decay", type=float, default=0.3, help="weight decay")
    parser.add_argument("--dropout", type=float, default=0.2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    if arguments.step == "prepare":
        prepare(arguments.sources, arguments.work)
    elif arguments.step == "fit":
        fit(
            arguments.work,
            arguments.out,
            arguments.epochs,
            arguments.peak,
            arguments.decay,
            arguments.dropout,
            arguments.seed,
        )
    else:
        evaluate(arguments.model)
