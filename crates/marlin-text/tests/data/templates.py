"""Renders chat templates as Hugging Face does, for tests/templates.rs.

Used: Python 3.11, transformers 5.23.0, jinja2 3.1.6. Without arguments it renders the templates of this
directory, which are ours, into templates.json; with arguments, templates of others (.jinja, or a .gguf that
holds one) into a directory that MARLIN_TEXT_TEMPLATES may name.

    python3 templates.py [OUT_DIRECTORY TEMPLATE...]
"""

import json
import pathlib
import sys

from transformers.utils.chat_template_utils import render_jinja_template

HERE = pathlib.Path(__file__).parent
TOKENS = {"bos_token": "<s>", "eos_token": "</s>"}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "get_weather",
            "description": 'Weather at a place — "now" or <later>, it\'s',
            "parameters": {
                "type": "object",
                "properties": {
                    "city": {"type": "string", "description": "Ville, z. B. Köln"},
                    "days": {"type": "integer", "minimum": 0, "default": 3},
                    "scale": {"type": "number", "enum": [0.5, 2.0, 123456789012345680]},
                },
                "required": ["city"],
            },
        },
    },
    {"type": "function", "function": {"name": "ping", "parameters": {"type": "object", "properties": {}}}},
]
SYSTEM = {"role": "system", "content": 'Be brief.\n  Use <b>HTML</b> & "quotes".'}
USER = {"role": "user", "content": "Hello 🙂, what's up?\n"}
ANSWER = {"role": "assistant", "content": "  Not much.  "}
THOUGHT = {"role": "assistant", "content": "Fine.", "reasoning_content": "\nThe user asks.\nI answer.\n"}
TAGGED = {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nYes."}
CALL = {
    "role": "assistant",
    "content": "",
    "reasoning_content": "Need the weather.",
    "tool_calls": [
        {
            "id": "call00001",
            "type": "function",
            "function": {
                "name": "get_weather",
                "arguments": {"city": "Köln", "days": 2, "deep": {"a": [1, True, None, "x\ty"], "b": {}}},
            },
        },
        {"id": "call00002", "type": "function", "function": {"name": "ping", "arguments": {}}},
    ],
}
RESULTS = [
    {"role": "tool", "tool_call_id": "call00001", "name": "get_weather", "content": '{"sky": "grey"}'},
    {"role": "tool", "tool_call_id": "call00002", "name": "ping", "content": "pong"},
]


def case(*messages, tools=None, prompt=True, **extra):
    return {"messages": list(messages), "tools": tools, "add_generation_prompt": prompt, "extra": extra}


CASES = [
    case(USER),
    case(USER, prompt=False),
    case(SYSTEM, USER),
    case(SYSTEM, USER, ANSWER, USER),
    case(USER, THOUGHT, USER, enable_thinking=False),
    case(USER, TAGGED, USER, THOUGHT, prompt=False),
    case(USER, TAGGED, USER, enable_thinking=True),
    case(USER, THOUGHT, USER, clear_thinking=False),
    case(USER, tools=TOOLS),
    case(SYSTEM, USER, tools=TOOLS),
    case(SYSTEM, USER, CALL, *RESULTS, tools=TOOLS),
    case(USER, CALL, *RESULTS, ANSWER, USER, tools=TOOLS),
    case(USER, CALL, *RESULTS, THOUGHT, tools=TOOLS, prompt=False),
    case(
        USER,
        numbers=[0.0, -0.0, 1e-4, 9.9e-5, 1e-7, 0.1, 1e15, 1e16, 1.5e300, -2.5, 7, -7, 2**63],
        nested={"b": [], "a": {}},
    ),
    case(USER, USER),
    case(ANSWER),
    case(),
]


def render(source, case):
    try:
        extra = case["extra"]
        rendered, _ = render_jinja_template(
            [case["messages"]],
            tools=case["tools"],
            chat_template=source,
            add_generation_prompt=case["add_generation_prompt"],
            **TOKENS,
            **extra,
        )
        return {"text": rendered[0]}
    except Exception as error:
        return {"error": f"{type(error).__name__}: {error}"}


def read(path):
    if path.suffix == ".gguf":
        import gguf

        return gguf.GGUFReader(path).fields["tokenizer.chat_template"].contents()
    return path.read_text()


def golden(paths):
    """All cases once, and for each template its source and what it makes of each case."""
    templates = {path.name: {"source": read(path)} for path in paths}
    for template in templates.values():
        template["rendered"] = [render(template["source"], case) for case in CASES]
    return (
        json.dumps({"tokens": TOKENS, "cases": CASES, "templates": templates}, ensure_ascii=False, indent=1)
        + "\n"
    )


if len(sys.argv) > 1:
    out = pathlib.Path(sys.argv[1])
    (out / "templates.json").write_text(golden([pathlib.Path(path) for path in sys.argv[2:]]))
else:
    (HERE / "templates.json").write_text(golden(sorted((HERE / "templates").glob("*.jinja"))))
