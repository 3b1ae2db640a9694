"""How each scheduler reads the directives of a script: ports of the rules, to hold the writers against."""

from __future__ import annotations

import re
import shlex

WHITE = " \t\n\r\v\f"


def sbatch_options(script: str) -> list[str]:
    """The words that sbatch takes from a script, as ``_get_argument`` and ``_opt_batch_script`` of its opt.c do.

    Raises
    ------
    ValueError
        Where sbatch ends with an error.
    """
    if "\r\n" in script:
        raise ValueError("DOS line breaks")
    if not script.startswith("#!"):
        raise ValueError("no #!")
    words: list[str] = []
    for line in script.split("\n"):
        if line.startswith("#SBATCH"):
            words += _words(line.removeprefix("#SBATCH"))
        elif line.lstrip(WHITE) and not line.lstrip(WHITE).startswith("#"):
            break  # the first command
    return words


def _words(line: str) -> list[str]:
    words = []
    while True:
        for name in ("packjob", "hetjob"):
            at = line.lower().find(name)
            if at >= 0:
                raise ValueError("another job of a pack")
        line = line.lstrip(WHITE)
        if line.startswith(":"):
            raise ValueError("unexpected :")
        word, used = _word(line)
        if word is None:
            return words
        words.append(word)
        line = line[used:]


def _word(line: str) -> tuple[str | None, int]:
    text: str | None = None
    quote = ""
    escaped = False
    at = 0
    while at < len(line) and (quote or line[at] not in WHITE):
        char = line[at]
        at += 1
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
            continue
        elif quote:
            if char == quote:
                quote = ""
                continue
        elif char in "\"'":
            quote = char
            continue
        elif char == "#":
            at -= 1
            break
        text = (text or "") + char
    if quote:
        raise ValueError("unmatched quote")
    return text, at


def qsub_options(script: str) -> list[str]:
    """The words that qsub takes from a script: lines up to the first command, split at white space.

    No PBS documents the quoting of its directives, and versions differ. So a quote, a backslash, a ``$`` or a ``;`` in
    one is an error here.

    Raises
    ------
    ValueError
        Where the versions of PBS differ, or qsub ends with an error.
    """
    words: list[str] = []
    for line in script.split("\n"):
        if line.startswith("#PBS"):
            text = line.removeprefix("#PBS")
            if re.search(r"""["'\\$;`]""", text) or not text.isascii():
                raise ValueError(f"not the same everywhere: {line}")
            words += shlex.split(text)
        elif line.strip() and not line.startswith("#"):
            break
    for option, value in zip(words[::2], words[1::2], strict=False):
        _check(option, value)
    return words


_RESOURCE = r"[a-z_]+=[\w.+:=\[\]-]+"


def _check(option: str, value: str) -> None:
    """The form of an option, as the manuals of PBS Pro 2022 and Torque 6 give it."""
    form = {
        "-N": r"[A-Za-z][\w+.-]{0,14}",
        "-S": r"/[\w/]+",
        "-q": r"[\w.@-]+",
        "-A": r"\S+",
        "-P": r"\S+",
        "-l": rf"walltime=\d+:\d\d:\d\d|select=\d+(:{_RESOURCE})*|place=[a-z:=]+|nodes=\d+(:(\w+=)?[\w.+-]+)*"
        rf"|{_RESOURCE}(,{_RESOURCE})*",
        "-j": "oe",
        "-r": "[yn]",
        "-p": r"-?\d+",
        "-m": "n|[abe]+",
        "-M": r"\S+",
        "-W": r"depend=\w+:[\w.:\[\]-]+|\w+=\S+",
        "-J": r"\d+-\d+(:\d+)?(%\d+)?",
        "-t": r"[\d,-]+(%\d+)?",
        "-a": r"\d{4,12}(\.\d\d)?",
    }
    if option in form and not re.fullmatch(form[option], value):
        raise ValueError(f"{option} does not take {value!r}")
