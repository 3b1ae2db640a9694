"""How each scheduler reads the directives of a script: ports of the rules, to hold the writers against."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from enum import Enum

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
    valued = [word for word in words if word != "-h"]  # the one option here that takes no value
    for option, value in zip(valued[::2], valued[1::2], strict=True):
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


class Dialect(Enum):
    """Whose manual a script is held against."""

    TORQUE = "torque"
    PRO = "pbspro"


# The options of qsub(1B): of Torque 6.1, and of PBS Professional 2022.1. A letter alone takes no value.
_FLAGS = {Dialect.TORQUE: "fhInVxXz", Dialect.PRO: "fhIVXz"}
_VALUED = {Dialect.TORQUE: "aAbcCdDeFijkKlLmMNopqrStTuvwW", Dialect.PRO: "aAcCeGijJklmMNopPqrRSuvW"}
# The resources of -l that a manual has beside a site's own: what one has and the other refuses.
_ONLY = {Dialect.TORQUE: {"nodes", "procs", "naccesspolicy", "pvmem"}, Dialect.PRO: {"select", "place"}}


@dataclass(frozen=True, slots=True)
class QsubJob:
    """What a script asks of qsub.

    Attributes
    ----------
    name, shell : str
        Empty if it names none.
    nodes, ppn, mpiprocs : int
        Nodes, CPUs on each, and lines of each in the node file.
    walltime : int
        Seconds; 0 without a limit of its own.
    """

    name: str
    shell: str
    nodes: int
    ppn: int
    mpiprocs: int
    walltime: int


def qsub_job(script: str, dialect: Dialect) -> QsubJob:
    """What a script asks for, by the manual of one PBS.

    Raises
    ------
    ValueError
        If that manual does not have an option or a resource, if a value has another form, or if an option that may be
        given once is there twice.
    """
    qsub_options(script)
    options: dict[str, str] = {}
    resources: dict[str, str] = {}
    for option, value in _pairs(script, dialect):
        if option == "-l":
            for text in [value] if value.startswith("select=") else value.split(","):
                name, equals, amount = text.partition("=")
                if not equals or name in resources:
                    raise ValueError(f"illegal -l value {value!r}")
                resources[name] = amount
        elif option in options and option not in ("-W", "-v"):
            raise ValueError(f"{option} is there twice")
        else:
            options[option] = value
    other = next(found for found in Dialect if found is not dialect)
    if wrong := sorted(_ONLY[other] & set(resources)):
        raise ValueError(f"Unknown resource: {', '.join(wrong)}")
    wanted = resources.get("nodes") or resources.get("select") or "1"
    count, *parts = wanted.split(":")
    amounts = dict(part.partition("=")[::2] for part in parts)
    ppn = int(amounts.get("ppn") or amounts.get("ncpus") or 1)
    hours, minutes, seconds = map(int, resources.get("walltime", "0:0:0").split(":"))
    walltime = hours * 3600 + minutes * 60 + seconds
    mpiprocs = int(amounts.get("mpiprocs") or 1)
    return QsubJob(options.get("-N", ""), options.get("-S", ""), int(count), ppn, mpiprocs, walltime)


def _pairs(script: str, dialect: Dialect) -> list[tuple[str, str]]:
    """Each option of a script with its value, by the letters that a manual has."""
    pairs = []
    for line in script.split("\n"):
        if line.strip() and not line.startswith("#"):
            break
        words = line.removeprefix("#PBS").split() if line.startswith("#PBS ") else []
        while words:
            option = words.pop(0)
            letter = option[1:]
            if len(option) != 2 or option[0] != "-" or letter not in _FLAGS[dialect] + _VALUED[dialect]:
                raise ValueError(f"invalid option -- {option!r}")
            if letter in _VALUED[dialect] and not words:
                raise ValueError(f"option requires an argument -- {letter!r}")
            value = words.pop(0) if letter in _VALUED[dialect] else ""
            _check(option, value)
            pairs.append((option, value))
    return pairs
