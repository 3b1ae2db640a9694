"""The source of a piece of code as Python reads it: without comments, docstrings and formatting."""

from __future__ import annotations

import ast
import dis
import linecache
from collections.abc import Iterator
from functools import lru_cache
from types import CodeType
from typing import NamedTuple

_BLOCKS = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Module)
_READS = {"LOAD_GLOBAL", "LOAD_NAME", "LOAD_FROM_DICT_OR_GLOBALS"}
_ATTRIBUTES = {"LOAD_ATTR", "LOAD_METHOD"}

Place = tuple[int, int]


class Reads(NamedTuple):
    """What code reads of its module: dotted names, and the modules that it imports by level, name and names."""

    names: tuple[tuple[str, ...], ...]
    imports: tuple[tuple[int, str, tuple[str, ...]], ...]


class File(NamedTuple):
    """A source file: its code objects and its functions by name and first line."""

    codes: dict[tuple[str, int], list[CodeType]]
    nodes: dict[tuple[str, int], list[ast.AST]]


def source(code: CodeType) -> str | None:
    """Of a function's code; None where its source is not there, or has been changed since.

    Notes
    -----
    The file is compiled: only where it gives this very code is its source this code's.
    """
    found = _source(code)
    if found is None:
        linecache.checkcache(code.co_filename)
        found = _source(code)
    return found


def module_source(text: str) -> str:
    """Of a whole module."""
    try:
        tree = ast.parse(text)
    except SyntaxError:
        return text
    return ast.unparse(_without_docstrings(tree))


def _source(code: CodeType) -> str | None:
    file = _file("".join(linecache.getlines(code.co_filename)))
    where = (code.co_name, code.co_firstlineno)
    if file is None or code not in file.codes.get(where, ()):
        return None
    nodes = file.nodes.get(where, [])
    if code.co_name == "<lambda>" and len(nodes) > 1:
        nodes = _innermost(nodes, code)
    if len(nodes) != 1:
        return None
    node = nodes[0]
    return ast.unparse(node)


@lru_cache(maxsize=32)
def _file(text: str) -> File | None:
    file = File({}, {})
    try:
        tree = ast.parse(text)
        whole = compile(text, "<source>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT, dont_inherit=True)
    except (SyntaxError, ValueError, RecursionError):
        return None
    for code in _nested(whole):
        file.codes.setdefault((code.co_name, code.co_firstlineno), []).append(code)
    for node in ast.walk(_without_docstrings(tree)):
        if isinstance(node, ast.Lambda):
            file.nodes.setdefault(("<lambda>", node.lineno), []).append(node)
        elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            first = min([node.lineno, *(d.lineno for d in node.decorator_list)])
            node.decorator_list = []
            file.nodes.setdefault((node.name, first), []).append(node)
    return file


def _nested(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _nested(constant)


def _without_docstrings(tree: ast.Module) -> ast.Module:
    for node in ast.walk(tree):
        if isinstance(node, _BLOCKS) and node.body and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:] or [ast.Pass()]
    return tree


def _innermost(nodes: list[ast.AST], code: CodeType) -> list[ast.AST]:
    """Of several lambdas on a line the smallest one that has all of this code's places."""
    spots = [((p[0], p[2]), (p[1], p[3])) for p in code.co_positions() if None not in p and p[1:] != (p[0], 0, 0)]
    if not spots:
        return []
    around = [
        (end, start, node)
        for node in nodes
        if isinstance(node, ast.Lambda)
        for start, end in [_span(node.body)]
        if all(start <= first and last <= end for first, last in spots)
    ]
    return [min(around, key=lambda a: (a[0], (-a[1][0], -a[1][1])))[2]] if around else []


def _span(node: ast.expr) -> tuple[Place, Place]:
    return (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)


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
