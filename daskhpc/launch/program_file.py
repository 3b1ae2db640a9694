"""Which files and modules are not taken for Python programs, and what to type instead."""

from __future__ import annotations

import codecs
import difflib
import os
import re
import shlex
import sys
import warnings
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path

from ..errors import ProgramError

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
_RUN = "daskhpc run"
_USAGE_MODULE = "daskhpc run [OPTIONS] -m package.module [ARGS], in the folder that has the package"


def check_program(script: str, args: Sequence[str], copy: str | None = None, command: str = _RUN) -> None:
    """Refuse what is no Python program, before anything is started.

    Python itself runs a file of any name, so a file is refused only if its name or its beginning shows that it is
    something else. (A notebook is an expression of Python: it would be evaluated, and nothing would happen.)

    Parameters
    ----------
    script : str
    args : sequence of str
        Its arguments, for the line to type.
    copy : str, optional
        The file that runs in its place; the script may have changed since, or may be gone.
    command : str
        What was typed, for the line to type.

    Raises
    ------
    ProgramError
        With the line to type instead, as far as that can be known.
    """
    if copy is not None and os.path.isfile(copy):
        return
    if os.path.isfile(script):
        source = _source(script)
        refused = _other_kind(script, args, source[:_HEAD_BYTES].decode("utf-8-sig", errors="replace"), command)
        if refused is not None:
            raise ProgramError(f"{script!r} is not a Python program.", *refused)
        _check_syntax(script, source, command)
        return
    usage = _usage(command)
    if os.path.isdir(script):
        main = os.path.join(script, "__main__.py")
        line = f"{command} {shlex.join([main, *args])}" if os.path.isfile(main) else usage
        raise ProgramError(f"Cannot run {script!r}.", f"a folder: {os.path.abspath(script)}", line)
    if script == "-" or os.path.exists(script):
        raise ProgramError(f"Cannot run {script!r}.", "standard input, a pipe or a device, and no file", usage)
    meant = _meant(script, args)
    # Only daskhpc run takes a module.
    todo = f"{command} {shlex.join(meant)}" if meant and (meant[0] != "-m" or command == _RUN) else usage
    raise ProgramError(f"Cannot run {script!r}.", f"no such file in {os.getcwd()}", todo)


def check_module(name: str, args: Sequence[str]) -> None:
    """Refuse a module's name that ``python -m`` could not run, before anything is started.

    No code of the user runs here: packages above the module are not imported. A package may change what is found in it
    (``__path__``, ``sys.modules``) when it is imported, so a name below such a package is not refused.

    Raises
    ------
    ProgramError
        With the line to type instead, as far as that can be known.
    """
    if os.path.isfile(name):
        line = shlex.join(["daskhpc", "run", *([name] if os.sep in name else ["-m", name.removesuffix(".py")]), *args])
        raise ProgramError(f"No module is called {name!r}.", "it is the name of a file", line)
    spec, missing = _module_spec(name)
    if missing is not None:
        close = difflib.get_close_matches(name, [path.stem for path in Path().glob("*.py")], n=1, cutoff=0.7)
        line = shlex.join(["daskhpc", "run", "-m", *close, *args]) if close else _USAGE_MODULE
        raise ProgramError(f"There is no module {name!r} to run.", missing, line)
    if spec is not None and spec.origin and spec.origin.endswith(".py") and spec.has_location:
        _check_syntax(spec.origin, _source(spec.origin), _RUN)


def _module_spec(name: str) -> tuple[ModuleSpec | None, str | None]:
    """Where the code of a module is, if that is known without importing; and what is missing, if something is."""
    folders: Sequence[str] | None = None
    parts = name.split(".")
    if "" in parts:
        return None, "a name, or names with a dot between them, is expected"
    for count in range(1, len(parts) + 1):
        part = ".".join(parts[:count])
        spec, known = _found(part, folders)
        if spec is None:
            within = f"{os.getcwd()} or among the installed packages" if folders is None else ", ".join(folders)
            return None, f"nothing called {part!r} in {within}" if known else None
        if spec.submodule_search_locations is None:
            if count < len(parts):
                return None, None if _may_hold_more(spec) else f"{part!r} is a module and no package"
            return spec, None
        if _may_hold_more(spec):
            return None, None
        folders = list(spec.submodule_search_locations)
    main, known = _found(f"{name}.__main__", folders)
    return main, None if main or not known else f"{name!r} is a package without a __main__.py"


def _found(name: str, folders: Sequence[str] | None) -> tuple[ModuleSpec | None, bool]:
    """What the finders of this process say of a module, and whether all could; none of them imports its package."""
    known = True
    path = list(sys.path)
    sys.path.insert(0, os.getcwd())  # as python -m has it
    try:
        for finder in sys.meta_path:
            try:
                spec = finder.find_spec(name, folders)
            except Exception:  # Python's own needs the parent of a namespace package; others may do anything
                known = False
                continue
            if spec is not None:
                return spec, True
        return None, known
    finally:
        sys.path[:] = path


def _may_hold_more(spec: ModuleSpec) -> bool:
    """Whether importing a package or module may bring modules below it that its folder does not show."""
    if spec.origin is None or not spec.origin.endswith(".py"):
        return spec.submodule_search_locations is None or spec.has_location
    return re.search(rb"__path__|sys\.modules|meta_path|__getattr__", _source(spec.origin)) is not None


def _source(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise ProgramError(f"Cannot read {path!r}.", str(error.strerror), f"ls -l {shlex.quote(path)}") from None


def _usage(command: str) -> str:
    return f"{command} [OPTIONS] script.py [ARGS]"


def _check_syntax(path: str, source: bytes, command: str) -> None:
    """Refuse what Python does not compile; each rank would start for nothing."""
    if source[:2] in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        line = f"iconv -f UTF-16 -t UTF-8 {shlex.quote(path)} -o program.py && {command} program.py"
        raise ProgramError(f"{path!r} is not valid Python.", "text in UTF-16, which Python does not read", line)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the program's own run shows them
            compile(source, path, "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        number = getattr(error, "lineno", None)
        text = (getattr(error, "text", None) or "").strip()
        said = f"line {number}: {getattr(error, 'msg', error)}" if number else str(error)
        raise ProgramError(
            f"{path!r} is not valid Python.",
            f"{said}: {text}" if text else said,
            f"{shlex.quote(sys.executable)} -m py_compile {shlex.quote(path)}",
        ) from None
    except (RecursionError, MemoryError):  # Python itself reports that
        return


def _other_kind(script: str, args: Sequence[str], head: str, command: str) -> tuple[str, str] | None:
    """What a file is, and what to type; None if it may be a Python program."""
    suffix = Path(script).suffix.lower()
    if suffix == ".ipynb" or (head.lstrip().startswith("{") and '"cells"' in head):
        line = shlex.join([script.removesuffix(".ipynb") + ".py", *args])
        return "a notebook", f"jupyter nbconvert --to python {shlex.quote(script)} && {command} {line}"
    if suffix == ".py":
        return None
    for mark, submit in _JOB_LINES.items():
        if re.search(rf"^{mark}\b", head, re.MULTILINE):
            return f"a job script, with lines that begin with {mark}", f"{submit} {shlex.quote(script)}"
    words = [os.path.basename(word) for word in head.partition("\n")[0][2:].split()] if head[:2] == "#!" else []
    interpreter = next((word for word in words if word != "env" and not word.startswith("-")), "")
    if interpreter in (*_OTHER_LANGUAGES.values(), *_SHELLS):
        return f"its first line names {interpreter}", shlex.join([interpreter, script, *args])
    if not words and suffix in _OTHER_LANGUAGES:
        return f"its name ends in {Path(script).suffix}", shlex.join([_OTHER_LANGUAGES[suffix], script, *args])
    if not words and suffix in _DATA:
        return f"its name ends in {Path(script).suffix}", _usage(command)
    return ("a binary file", _usage(command)) if "\0" in head else None


def _meant(script: str, args: Sequence[str]) -> list[str] | None:
    """The file or module that a name without its ending or quotes, or with a slip of the finger, may stand for."""
    quoted = [" ".join([script, *args[:count]]) for count in range(1, len(args) + 1)]
    for name in (f"{script}.py", *quoted):
        if script and os.path.isfile(name):
            return [name]
    if re.fullmatch(r"[\w.]+", script) and _module_spec(script)[0] is not None:
        return ["-m", script]
    folder, name = os.path.split(script)
    try:
        programs = [path.name for path in Path(folder or ".").iterdir() if path.suffix == ".py" and path.is_file()]
    except OSError:
        return None
    close = difflib.get_close_matches(name, programs, n=1)
    return [os.path.join(folder, close[0])] if close else None
