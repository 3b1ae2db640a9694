"""Code objects by their instructions: file, lines, comments and docstrings do not count."""

from __future__ import annotations

import ast
import dis
import inspect
import sys
from bisect import bisect_left
from collections.abc import Iterator
from functools import lru_cache, partial
from types import CodeType
from typing import NamedTuple

from ..compat.python import exception_entries
from .key_parts import Node

_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}
_NAMED = frozenset([*dis.hasname, *dis.haslocal, *dis.hasfree])
_CONSTANT = frozenset(dis.hasconst)
_JUMPS = frozenset([*dis.hasjrel, *dis.hasjabs])
_FLAGS = 0x3FF  # arguments, generator, coroutine; not whether there is a docstring, nor what is from __future__
_OF_A_PLACE = {"__doc__", "__firstlineno__", "__static_attributes__"}


class Reads(NamedTuple):
    """What code reads of its module: dotted names, and the modules that it imports by level, name and names."""

    names: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


def instructions(code: CodeType) -> Node:
    """A code object as its instructions and the constants that they load.

    Notes
    -----
    Why not the source: whether that is there hangs on the process (a notebook's cells, a file that was edited since, a
    pickler that leaves the file's name out), so the same function would have two tokens. Instructions travel with the
    function. They differ between minor versions of Python, so that version is part of the token.

    Why not ``co_code`` and ``co_consts`` as they are: a docstring is a constant too, and moves the others; ``pass`` and
    the breaking of lines leave NOPs, which move what is jumped to. So names and constants stand with the instructions
    that use them, jumps go to an instruction by its number, and what nothing loads does not count.
    """
    numbers = (code.co_argcount, code.co_posonlyargcount, code.co_kwonlyargcount, code.co_flags & _FLAGS)
    names = (code.co_varnames, code.co_freevars, code.co_cellvars)
    steps = list(_steps(code))
    offsets = [step.offset for step in steps]
    lines = [_line(step, offsets) for step in steps]
    constants = [step.argval for step in steps if step.opcode in _CONSTANT]
    return Node("bytecode", [_PYTHON, *numbers, *names, "\n".join(lines), constants, _caught(code, offsets)])


def _steps(code: CodeType) -> Iterator[dis.Instruction]:
    """The instructions that do something."""
    of_class = not code.co_flags & inspect.CO_OPTIMIZED
    waiting: dis.Instruction | None = None
    for step in dis.get_instructions(code):
        if step.opname in ("EXTENDED_ARG", "NOP"):
            continue
        # the compiler stores a class's docstring, first line and the like at the beginning of its body
        stored = of_class and step.opname == "STORE_NAME" and step.argval in _OF_A_PLACE
        if stored and waiting is not None and waiting.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
            waiting = None
            continue
        if waiting is not None:
            yield waiting
        waiting = step
    if waiting is not None:
        yield waiting


def _line(step: dis.Instruction, offsets: list[int]) -> str:
    if step.opcode in _CONSTANT:
        return step.opname
    if step.opcode in _JUMPS:
        return f"{step.opname} {bisect_left(offsets, step.argval)}"
    return f"{step.opname} {step.argval if step.opcode in _NAMED else step.arg}"


def _caught(code: CodeType, offsets: list[int]) -> bytes | list[tuple[int, int, int, int, bool]]:
    """Between which instructions exceptions are caught, and the instruction that is next then."""
    entries = exception_entries(code)
    if entries is None:
        return code.co_exceptiontable
    at = partial(bisect_left, offsets)
    return [(at(start), at(end), at(target), depth, lasti) for start, end, target, depth, lasti in entries]


@lru_cache(maxsize=4096)
def reads(code: CodeType) -> Reads:
    """What code reads of its module, also in the functions and classes inside it."""
    names: set[tuple[str, ...]] = set()
    imports: set[tuple[int, str, tuple[str, ...]]] = set()
    for inner in _nested(code):
        chain: list[str] = []
        constants: list[object] = [0, None]
        for step in dis.get_instructions(inner):
            if step.opname == "EXTENDED_ARG":
                continue
            if chain and step.opname in _ATTRIBUTES:
                chain.append(step.argval)
                continue
            names.update([tuple(chain)] if chain else [])
            chain = [step.argval] if step.opname in _READS else []
            if step.opname.startswith(("LOAD_CONST", "LOAD_SMALL_INT")):
                constants = [constants[-1], step.argval]
            elif step.opname == "IMPORT_NAME":
                level, of = constants
                imports.add((level if isinstance(level, int) else 0, step.argval, of if isinstance(of, tuple) else ()))
        names.update([tuple(chain)] if chain else [])
    return Reads(tuple(sorted(names)), tuple(sorted(imports)))


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


@lru_cache(maxsize=1024)
def module_imports(text: str) -> tuple[tuple[int, str, tuple[str, ...]], ...]:
    """What the source of a module imports anywhere: level, name and names, as in `Reads`."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return ()
    found: list[tuple[int, str, tuple[str, ...]]] = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found += [(0, each.name, ()) for each in node.names]
        elif isinstance(node, ast.ImportFrom):
            found.append((node.level, node.module or "", tuple(each.name for each in node.names)))
    return tuple(found)


@lru_cache(maxsize=1024)
def module_source(text: str) -> str:
    """Of a whole module."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return text
    return ast.unparse(_without_docstrings(tree))


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, _BLOCKS) and node.body and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree
