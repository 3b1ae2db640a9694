"""Which files ``daskhpc run`` does not take for Python programs, and what to type instead."""

from __future__ import annotations

import difflib
import os
import re
import shlex
from collections.abc import Sequence
from pathlib import Path

from ..errors import LaunchError

_HEAD_BYTES = 4096
_OTHER_LANGUAGES = {
    ".r": "Rscript",
    ".jl": "julia",
    ".m": "octave",
    ".pl": "perl",
    ".rb": "ruby",
    ".js": "node",
    ".sh": "bash",
    ".bash": "bash",
}
# Much of what stands in such files is a valid expression of Python, so that nothing would happen, with exit code 0.
_DATA = (".json", ".yaml", ".yml", ".toml", ".ini", ".csv", ".md", ".rst", ".html", ".c", ".cpp", ".f90")
_SHELLS = ("sh", "dash", "ksh", "zsh", "csh", "tcsh", "fish")
_JOB_LINES = {"#SBATCH": "sbatch", "#PBS": "qsub", "#BSUB": "bsub <"}
_USAGE = "daskhpc run [OPTIONS] script.py [ARGS]"


def check_program(script: str, args: Sequence[str]) -> None:
    """Refuse what is no Python program, before anything is started.

    Python itself runs a file of any name, so a file is refused only if its name or its beginning says that it is
    something else. (A notebook is an expression of Python: it would be evaluated, and nothing would happen.)

    Raises
    ------
    LaunchError
        With the line to type instead, as far as that can be known.
    """
    if os.path.isfile(script):
        refused = _other_kind(script, args)
        if refused is not None:
            raise LaunchError(f"{script!r} is not a Python program.", *refused)
        return
    if os.path.isdir(script):
        main = os.path.join(script, "__main__.py")
        line = shlex.join(["daskhpc", "run", main, *args]) if os.path.isfile(main) else _USAGE
        raise LaunchError(f"Cannot run {script!r}.", f"a folder: {os.path.abspath(script)}", line)
    meant = _meant(script, args)
    todo = f"daskhpc run {shlex.quote(meant)}" if meant else _USAGE
    raise LaunchError(f"Cannot run {script!r}.", f"no such file in {os.getcwd()}", todo)


def _other_kind(script: str, args: Sequence[str]) -> tuple[str, str] | None:
    """What a file is, and what to type; None if it may be a Python program."""
    with open(script, "rb") as file:
        head = file.read(_HEAD_BYTES).decode(errors="replace")
    suffix = Path(script).suffix.lower()
    if suffix == ".ipynb" or (head.lstrip().startswith("{") and '"cells"' in head):
        line = shlex.join([script.removesuffix(".ipynb") + ".py", *args])
        return "a notebook", f"jupyter nbconvert --to python {shlex.quote(script)} && daskhpc run {line}"
    if suffix == ".py":
        return None
    for mark, command in _JOB_LINES.items():
        if re.search(rf"^{mark}\b", head, re.MULTILINE):
            return f"a job script, with lines that begin with {mark}", f"{command} {shlex.quote(script)}"
    words = [os.path.basename(word) for word in head.partition("\n")[0][2:].split()] if head[:2] == "#!" else []
    interpreter = next((word for word in words if word != "env" and not word.startswith("-")), "")
    if interpreter in (*_OTHER_LANGUAGES.values(), *_SHELLS):
        return f"its first line names {interpreter}", shlex.join([interpreter, script, *args])
    if not words and suffix in _OTHER_LANGUAGES:
        return f"its name ends in {Path(script).suffix}", shlex.join([_OTHER_LANGUAGES[suffix], script, *args])
    if not words and suffix in _DATA:
        return f"its name ends in {Path(script).suffix}", _USAGE
    return ("a binary file", _USAGE) if "\0" in head else None


def _meant(script: str, args: Sequence[str]) -> str | None:
    """The file that a name without its ending, without its quotes or with a slip of the finger may stand for."""
    quoted = [" ".join([script, *args[:count]]) for count in range(1, len(args) + 1)]
    for name in (f"{script}.py", *quoted):
        if script and os.path.isfile(name):
            return name
    folder, name = os.path.split(script)
    try:
        programs = [path.name for path in Path(folder or ".").iterdir() if path.suffix == ".py" and path.is_file()]
    except OSError:
        return None
    close = difflib.get_close_matches(name, programs, n=1)
    return os.path.join(folder, close[0]) if close else None
