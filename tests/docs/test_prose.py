"""Four of the rules of docs/project/prose.md hold in pages, docstrings, messages and help texts."""

from __future__ import annotations

import re
from pathlib import Path

import prose
import pytest

ROOT = Path(__file__).parents[2]
PAGES = [page for page in ROOT.glob("docs/**/*.md") if not {"generated", "_build"} & set(page.parts)]
PAGES = sorted([*PAGES, *ROOT.glob("slurm/*/README.md"), ROOT / "README.md"])
FIRST_SCREEN = 45
"""Lines of a page that a reader sees at once."""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_is_in_plain_words(page: Path) -> None:
    broken = prose.of_page(page)
    assert not broken, "\n".join(broken)


def test_every_page_has_a_block_to_copy_on_its_first_screen() -> None:
    without = []
    for page in PAGES:
        first = "\n".join(page.read_text().splitlines()[:FIRST_SCREEN])
        if (
            not re.search(r"^(```(python|console|text|bash|bibtex)|    \S)", first, re.MULTILINE)
            and "{eval-rst}" not in first
        ):
            without.append(str(page.relative_to(ROOT)))
    assert not without


@pytest.mark.parametrize(
    ("text", "rule"),
    [
        ("What is kept is not made again.", "the subject is a thing with a name"),
        ("Where there is no MPI, ranks meet.", "'if' or 'when', not 'where'"),
        ("It is its halving kin.", "a plain word, not 'kin'"),
        ("word " * 26 + "end.", "one fact per sentence, 27 words"),
    ],
)
def test_the_linter_sees(text: str, rule: str) -> None:
    assert any(rule in found for found in prose.broken_rules(prose.Sentence(text, "page.md:1")))


@pytest.mark.parametrize(
    "text",
    [
        "What is Dask?",
        "The page says where each number is from.",
        "If there is no MPI, the ranks meet by a file.",
    ],
)
def test_the_linter_lets_pass(text: str) -> None:
    assert not prose.broken_rules(prose.Sentence(text, "page.md:1"))


MODULES = sorted((ROOT / "daskhpc").rglob("*.py"))


def test_messages_help_and_docstrings_are_in_plain_words() -> None:
    broken = [found for path in MODULES for found in prose.of_module(path)]
    assert not broken, "\n".join(broken)


def test_the_linter_reads_messages_and_docstrings(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text(
        'def f(x):\n    """Do it.\n\n    Raises\n    ------\n    ValueError\n        Where x is 1.\n    """\n'
        '    raise ValueError("What was given is 1.", f"{x}, where 2 was wanted")\n'
    )
    found = " ".join(prose.of_module(module))
    assert all(rule in found for rule in ("'If', not 'Where', in Raises", "a thing with a name", "not 'where'"))
