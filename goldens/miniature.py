"""The goldens of marlin-mini: logits, greedy continuations, perplexity on its held-out text, tokens and chat
layouts.

The model itself lives in assets/marlin-mini; only what is expected of it is written here.
"""

import json

import torch
import transformers
from safetensors.torch import save_file

PROMPTS, LENGTH, CONTINUED, CONTEXT = 3, 64, 32, 512

TEXTS = [
    "In the beginning God created the heaven and the earth.",
    "",
    " ",
    "\n\n  two  spaces\tand a tab\r\n",
    "I'll say he's 1234567 years old!!!",
    "na\u00efve caf\u00e9 \u2014 \u201cquoted\u201d \u65e5\u672c\u8a9e \U0001f41f",
    "<|user|>Hello<|assistant|></think>Hi<|endoftext|>",
    "<tool_call>lookup</tool_call> <|user|",
]
TOOL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "description": "Look up a fact about a country",
        "parameters": {
            "type": "object",
            "properties": {"country": {"type": "string"}, "field": {"type": "string"}},
            "required": ["country", "field"],
        },
    },
}
CALL = {
    "type": "function",
    "function": {
        "name": "lookup",
        "arguments": {"country": "Italy", "year": 2014, "deep": {"a": [1, True, None]}},
    },
}
SYSTEM, ASK = (
    {"role": "system", "content": "You are Marlin mini."},
    {"role": "user", "content": "What is the capital of Italy?"},
)
THOUGHT = {"role": "assistant", "reasoning_content": "A country.", "content": "Rome."}
CHATS = [
    {"messages": [ASK]},
    {"messages": [ASK], "enable_thinking": False},
    {"messages": [SYSTEM, ASK, THOUGHT, {"role": "user", "content": "Thank you."}]},
    {"messages": [SYSTEM, ASK, THOUGHT, {"role": "user", "content": "Thank you."}], "clear_thinking": False},
    {
        "messages": [ASK, {"role": "assistant", "content": "<think>A country.</think>\nRome."}],
        "add_generation_prompt": False,
    },
    {"messages": [SYSTEM, ASK], "tools": [TOOL]},
    {
        "messages": [
            ASK,
            {**THOUGHT, "content": "", "tool_calls": [CALL, {"function": {"name": "now", "arguments": {}}}]},
            {"role": "tool", "content": "Rome"},
            {"role": "tool", "content": "12:00"},
        ],
        "tools": [TOOL],
    },
    {
        "messages": [
            {
                "role": "user",
                "content": [{"type": "text", "text": "Where is "}, {"type": "text", "text": "Japan?"}],
            }
        ]
    },
]


@torch.no_grad()
def greedy(model, ids, count):
    """Continues one prompt; also the smallest lead of a chosen token over the next best."""
    lead = float("inf")
    for _ in range(count):
        best = model(ids[None]).logits[0, -1].topk(2)
        lead = min(lead, (best.values[0] - best.values[1]).item())
        ids = torch.cat([ids, best.indices[:1]])
    return ids[-count:], lead


@torch.no_grad()
def window_nll(model, ids):
    """llama.cpp's protocol: disjoint windows, an empty cache each, tokens 257 .. 511 scored. [windows, 255]
    f32."""
    rows = []
    for at in range(0, len(ids) // CONTEXT * CONTEXT, CONTEXT):
        window = ids[at : at + CONTEXT]
        logp = model(window[None]).logits[0, CONTEXT // 2 : -1].log_softmax(-1)
        rows.append(-logp.gather(1, window[CONTEXT // 2 + 1 :, None])[:, 0])
    return torch.stack(rows)


@torch.no_grad()
def prompts_and_answers(model, ids, stops):
    """Prompts spread over the text, moved on until the greedy path is clear (lead over 0.02) and meets no
    stop token."""
    prompts, logits, answers = [], [], []
    for number in range(PROMPTS):
        for at in range(number * len(ids) // PROMPTS, len(ids), 97):
            prompt = ids[at : at + LENGTH]
            scores = model(prompt[None]).logits[0]
            two = scores.topk(2, -1).values
            answer, lead = greedy(model, prompt, CONTINUED)
            if lead > 0.02 and (two[:, 0] - two[:, 1]).min() > 0.004 and not set(answer.tolist()) & stops:
                break
        prompts.append(prompt), logits.append(scores), answers.append(answer)
    return torch.stack(prompts), torch.stack(logits), torch.stack(answers)


def one_line_an_entry(value):
    lines = []
    for key, entry in value.items():
        rows = [json.dumps(row, ensure_ascii=False) for row in entry] if isinstance(entry, list) else None
        lines.append(f'"{key}": ' + ("[\n" + ",\n".join(rows) + "\n]" if rows else json.dumps(entry)))
    return "{\n" + ",\n".join(lines) + "\n}\n"


def make(folder, model_folder):
    folder.mkdir(exist_ok=True)
    model = transformers.Glm4MoeLiteForCausalLM.from_pretrained(
        model_folder, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    tokenizer = transformers.AutoTokenizer.from_pretrained(model_folder)
    ids = torch.tensor(
        tokenizer((model_folder / "heldout.txt").read_text(), add_special_tokens=False)["input_ids"]
    )
    prompts, logits, answers = prompts_and_answers(model, ids, set(model.config.eos_token_id))
    nll = window_nll(model, ids)
    save_file(
        {"input_ids": prompts, "logits": logits, "greedy": answers, "heldout_ids": ids.int(), "nll": nll},
        folder / "golden.safetensors",
    )

    wide = nll.double()
    perplexity = wide.mean().exp().item()
    text = {
        "perplexity": {
            "value": perplexity,
            "error": perplexity * (wide.var() / wide.numel()).sqrt().item(),
            "context": CONTEXT,
            "tokens": len(ids),
            "scored": wide.numel(),
        },
        "tokens": [
            {"text": text, "ids": tokenizer(text, add_special_tokens=False)["input_ids"]} for text in TEXTS
        ],
        "chats": [],
    }
    for chat in CHATS:
        options = {"add_generation_prompt": True, **chat}
        rendered = tokenizer.apply_chat_template(options.pop("messages"), tokenize=False, **options)
        text["chats"].append(
            {**chat, "rendered": rendered, "ids": tokenizer(rendered, add_special_tokens=False)["input_ids"]}
        )
    (folder / "text.json").write_text(one_line_an_entry(text))
    return f"perplexity {perplexity:.4f} over {wide.numel()} tokens, {len(CHATS)} chats"
