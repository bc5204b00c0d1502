"""Words that the project does not use, and the field's terms and plain English in their place.

Identifiers are read by `ast`, prose from docstrings, comments, messages, templates and Markdown.
"""

import ast
import io
import re
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SOURCES = [
    path for folder in ("charrnn", "scripts", "tests") for path in ROOT.glob(f"{folder}/**/*.py")
]
TEXTS = [
    *ROOT.glob("*.md"),
    *ROOT.glob(".github/*.md"),
    *(
        path
        for folder in ("charrnn", "configs", "data", "scripts", "tests")
        for path in [*ROOT.glob(f"{folder}/**/*.md"), *ROOT.glob(f"{folder}/*.yaml")]
    ),
    *(ROOT / "charrnn" / "web").glob("*.[chj]*s"),
    *(ROOT / "charrnn" / "web").glob("*.html"),
]

# An identifier: the word, and what to write instead.
NAMES = {
    "found": "what it is: scores, offsets, matches",
    "made": "what it is: config, path, model",
    "some": "what it is",
    "place": "position, offset, path, index",
    "places": "positions, offsets, paths, indices",
    "which": "indices, record_ids",
    "at": "start, offset, step, position",
    "told": "messages, lines",
    "asked": "options",
    "taste": "sampling options",
    "limits": "stop conditions, bounds",
    "team": "worker pool",
    "helper": "worker",
    "dismiss": "shutdown",
    "elsewhere": "peer",
    "several": "process group",
    "add_up": "allreduce",
    "spread": "broadcast",
    "in_turn": "rank_zero_first",
    "for_all": "error_for_all_ranks",
    "hear": "receive",
    "tell": "report, print",
    "standing": "training state",
    "watch": "callbacks",
    "ticked": "on_step",
    "troubled": "on_warning",
    "telling": "most correlated, unit feature",
    "reading": "inspection",
    "subject": "scoring task",
    "figures": "readout",
    "recipe": "preset",
    "recipes": "presets",
    "transfer": "warm start",
    "carry_over": "copy_weights",
    "news": "new characters",
    "mended": "normalized",
    "misread": "undecodable",
    "blank": "empty",
    "foretold": "predicted",
    "surprise": "surprisal",
}

# Prose: the pattern, and what to write instead.
PROSE = {
    r"foret(old|ells?|elling)": "predict",
    r"surprises?": "surprisal",
    r"tastes?": "sampling options",
    r"teams?|helpers?": "worker pool, worker",
    r"dismiss\w*": "shut down",
    r"hears?|heard": "receive",
    r"tells?|told|telling": "report, print, name, show",
    r"(rank|process|worker)s?( 0)? (says?|said)": "report, print, send",
    r"standing": "training state",
    r"stands? at": "is at",
    r"(go|goes|going|went) on": "resume, continue",
    r"(carry|carries|carried|carrying) over|transfer learning": "warm start, copy",
    r"news": "new characters",
    r"mend(s|ed|ing)?": "normalize, repair",
    r"misread": "undecodable",
    r"blank lines?": "empty line",
    r"(\d+|most|all|its|the) cells of (a|the) (network|layer|state)": "hidden units",
    r"optimis\w+|initialis\w+": "optimize, initialize",
    r"nobody|whoever": "a plain subject",
}

# Uses that mean something else, each with its reason: a file's name, the line's text, why.
ALLOWED = [
    ("archive.py", "self.seek, self.tell, self.seekable", "the protocol of files in Python"),
    ("bench.py", "charrnn/parallel/team.py", "a file of an older checkout"),
    ("test_loader.py", "optimiser", "a key that is misspelt on purpose"),
]


def identifiers(tree):
    """Yield every identifier of a module that it chooses itself, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name, node.lineno
            case ast.arg():
                yield node.arg, node.lineno
            case ast.Name(ctx=ast.Store()):
                yield node.id, node.lineno
            case ast.Attribute(ctx=ast.Store()):
                yield node.attr, node.lineno


def prose(path):
    """Yield the text of a file that people read, with its line."""
    source = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from ((line, number) for number, line in enumerate(source.splitlines(), 1))
        return
    kinds = {tokenize.STRING, tokenize.COMMENT, getattr(tokenize, "FSTRING_MIDDLE", -1)}
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type in kinds:
            lines = token.string.splitlines()
            yield from ((line, number) for number, line in enumerate(lines, token.start[0]))


def is_allowed(path, text):
    """Return whether a line has a use that is allowed."""
    return any(path.name == name and part in text for name, part, _ in ALLOWED)


def wrong_names(path):
    """Yield a message for every identifier of a file that is in the table."""
    lines = path.read_text(encoding="utf-8").splitlines()
    for name, number in identifiers(ast.parse("\n".join(lines))):
        word = name.strip("_").lower()
        if word in NAMES and not is_allowed(path, lines[number - 1]):
            yield f"{path.relative_to(ROOT)}:{number}: {name}: write {NAMES[word]}"


def wrong_words(path):
    """Yield a message for every use of a word that is in the table."""
    for text, number in prose(path):
        for pattern, instead in PROSE.items():
            match = re.search(rf"\b({pattern})\b", text, re.IGNORECASE)
            if match and not is_allowed(path, text):
                yield f"{path.relative_to(ROOT)}:{number}: {match[0]!r}: write {instead}"


@pytest.mark.parametrize("folder", ["charrnn", "scripts", "tests"])
def test_identifiers_are_the_terms_of_the_field(folder):
    """No variable, parameter, function or class has a name of the table's left column."""
    paths = [path for path in SOURCES if path.is_relative_to(ROOT / folder)]
    assert not [message for path in paths for message in wrong_names(path)]


def test_prose_is_plain_english():
    """No docstring, comment, message, template or page has a word of the table's left column."""
    own = Path(__file__)
    assert not [
        message for path in [*SOURCES, *TEXTS] if path != own for message in wrong_words(path)
    ]


def test_every_allowed_use_is_still_there():
    """An entry that allows nothing any more is taken out of the list."""
    texts = {path.name: "" for path in [*SOURCES, *TEXTS]}
    for path in [*SOURCES, *TEXTS]:
        texts[path.name] += path.read_text(encoding="utf-8")
    assert [(name, part) for name, part, _ in ALLOWED if part not in texts[name]] == []


@pytest.mark.parametrize(
    ("messages", "source", "count"),
    [
        (wrong_names, "found = 1\n", 1),
        (wrong_names, "def place(which): pass\n", 2),
        (wrong_names, "profound, some_ids = 1, 2\n", 0),
        (wrong_words, '"""It foretells."""\n', 1),
        (wrong_words, "x = 1  # told to go on\n", 2),
        (wrong_words, "surprisal = 1\n", 0),
    ],
)
def test_a_word_of_the_tables_is_noticed(tmp_path, monkeypatch, messages, source, count):
    """As a name of its own, in a docstring and in a comment, not as a part of another word."""
    monkeypatch.setattr(f"{__name__}.ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text(source, encoding="utf-8")
    assert len(list(messages(path))) == count
