"""Reads pages, docstrings and messages as sentences, and finds those that break rules of docs/project/prose.md."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from statistics import mean
from typing import NamedTuple

from markdown_it import MarkdownIt

LONGEST = 25
"""Words that a sentence of a page has at most."""

LONGEST_MEAN = 16.0
"""Words that the sentences of a page have on average, at most."""

LONGEST_MESSAGE = 35
"""Words that a sentence of a message or of a help text has at most: it names what was found."""

RAISED_WHERE = re.compile(r"(?m)^ *\w+(Error|Exception)\n +Where ")
SUBJECTS = re.compile(r"(What|Whatever|Whoever|Who|One that|Ones that|Such|Those|That which)\b")
WHERE = re.compile(r"(Where|Wherever)\b|, where (?!\w+ (is|are|lies|lie|stands)\b)")
EFFECT = re.compile(
    r"\b(kin|misleads nobody|says? no|for your eyes only|in so many words|speaks?|acted out|at hand|"
    r"dealt with)\b"
)


class Sentence(NamedTuple):
    """A sentence and where it stands."""

    text: str
    place: str

    @property
    def words(self) -> int:
        return len(re.findall(r"[\w'.\-/+*=%:]*\w[\w'.\-/+*=%:()]*", self.text))


def sentences(text: str, place: str) -> list[Sentence]:
    """The sentences of a paragraph; code counts as one word."""
    text = re.sub(r"``.+?``|`[^`]*`", "X", " ".join(text.split()))
    text = re.sub(r"\b(e\.g|i\.e|etc|vs|No)\.", r"\1", text)
    parts = re.split(r"(?<=[.!?])[)\"*]*\s+(?=[\"(*]*[A-Z0-9])", text)
    return [Sentence(part.strip(), place) for part in parts if part.strip()]


def paragraphs(page: Path) -> Iterator[tuple[str, str, bool]]:
    """Text, place and whether it stands in a table, of every paragraph, list item and cell of a page."""
    tokens = MarkdownIt("commonmark").enable("table").parse(_without_directives(page.read_text()))
    inside: list[str] = []
    for token in tokens:
        if token.nesting == 1:
            inside.append(token.type)
        elif token.nesting == -1:
            inside.pop()
        elif token.type == "inline" and "heading_open" not in inside:
            text = re.sub(r"!?\[([^]]*)\]\([^)]*\)", r"\1", token.content)
            text = re.sub(r"\{[\w:-]+\}`([^`]*)`", r"\1", text)
            line = token.map[0] + 1 if token.map else 0
            yield text.replace("**", ""), f"{page.name}:{line}", any("td" in kind or "th_" in kind for kind in inside)


def _without_directives(text: str) -> str:
    """Without colon fences, targets and what programs wrote; the lines keep their numbers."""
    text = re.sub(r"(?s)<!-- ([\w ]+): begin -->.*?<!-- \1: end -->", lambda found: "\n" * found[0].count("\n"), text)
    return re.sub(r"(?m)^(:{3,}.*|\(\S+\)=|:\w[\w-]*:.*|\+\+\+|\{.*\})$", "", text)


def broken_rules(sentence: Sentence, longest: int = LONGEST) -> list[str]:
    """Which of the four rules a sentence breaks, each with the place.

    Examples
    --------
    >>> broken_rules(Sentence("Where there is no MPI, ranks meet.", "page.md:3"))
    ["page.md:3: 'if' or 'when', not 'where': Where there is no MPI, ranks meet."]
    """
    asks = sentence.text.endswith("?")
    found = []
    if SUBJECTS.match(sentence.text) and not asks:
        found.append("the subject is a thing with a name")
    if WHERE.search(sentence.text) and not asks:
        found.append("'if' or 'when', not 'where'")
    if sentence.words > longest:
        found.append(f"one fact per sentence, {sentence.words} words")
    if EFFECT.search(sentence.text):
        found.append(f"a plain word, not {EFFECT.search(sentence.text)[0]!r}")  # type: ignore[index]
    return [f"{sentence.place}: {rule}: {sentence.text}" for rule in found]


def of_page(page: Path) -> list[str]:
    """The rules that a page breaks."""
    found, words = [], []
    for text, place, in_table in paragraphs(page):
        for sentence in sentences(text, place):
            found += broken_rules(sentence, 1000 if in_table else LONGEST)
            if not in_table:
                words.append(sentence.words)
        if text.count(";") > 1 and not in_table:
            found.append(f"{place}: one ';' in a paragraph: {text[:80]}")
    if words and mean(words) > LONGEST_MEAN:
        found.append(f"{page.name}: sentences have {mean(words):.1f} words on average, at most {LONGEST_MEAN:.0f}")
    return found


def of_module(path: Path) -> list[str]:
    """The rules that messages, help texts and docstrings of a module break."""
    found = []
    tree = ast.parse(path.read_text())
    for text, line in _messages(tree):
        for sentence in sentences(text, f"{path.name}:{line}"):
            found += broken_rules(sentence, LONGEST_MESSAGE)
    for text, line in _docstrings(tree):
        if RAISED_WHERE.search(text):
            found.append(f"{path.name}:{line}: 'If', not 'Where', in Raises")
        if word := EFFECT.search(text):
            found.append(f"{path.name}:{line}: a plain word, not {word[0]!r}")
    return found


def _docstrings(tree: ast.Module) -> Iterator[tuple[str, int]]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and (text := ast.get_docstring(node)):
            yield text, getattr(node, "lineno", 1)


def _messages(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """The texts that errors, warnings, options and settings are made with."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and _is_said(node.func):
            for value in (*node.args, *(keyword.value for keyword in node.keywords)):
                if isinstance(value, ast.Constant) and isinstance(value.value, str) and " " in value.value:
                    yield value.value, node.lineno
                elif isinstance(value, ast.JoinedStr):
                    parts = (p.value if isinstance(p, ast.Constant) else "X" for p in value.values)
                    yield "".join(map(str, parts)), node.lineno


def _is_said(function: ast.expr) -> bool:
    name = function.id if isinstance(function, ast.Name) else getattr(function, "attr", "")
    return name.endswith("Error") or name in {"option", "argument", "_setting", "echo", "warn", "warning"}
