"""The house rules of docs/architecture.md: who may import whom, what an import costs, how long things may be."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from functools import cache
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import NamedTuple

import pytest

import daskhpc

ROOT = Path(daskhpc.__file__).parent
MODULE_LINES, FUNCTION_LINES = 400, 60

BOTTOM = frozenset({"errors", "settings", "text", "atomic", "own_files", "shadowing", "compat"})
BELOW = BOTTOM | {"clients", "runtime", "launch", "journal", "files", "materialize", "sweep_table"}
BELOW |= {"chunk_size", "windowed_array"}
COLLECTIONS = ("arrays", "frames", "bags", "cubes", "explaining", "computing", "postfit")
LAYER_3 = ("parallel", "search", *COLLECTIONS, "ddp", "scaling_study", "report", "plots")
EVERYTHING = frozenset({*BELOW, "cluster", "cli", "jobs", "starting", *LAYER_3})

# Which other top-level modules each one may import; the package itself ("") holds the lazy public names.
MAY: dict[str, frozenset[str]] = {
    "errors": frozenset(),
    "settings": frozenset({"errors"}),
    "text": frozenset(),
    "atomic": frozenset(),
    "own_files": frozenset(),
    "shadowing": frozenset({"errors"}),
    "compat": frozenset({"errors"}),
    "clients": frozenset({"compat"}),
    "runtime": BOTTOM,
    "launch": BOTTOM,
    "journal": frozenset({"errors", "text", "atomic", "own_files", "compat"}),
    "chunk_size": BOTTOM | {"runtime", "clients"},
    "windowed_array": frozenset(),
    "files": BOTTOM,
    "materialize": BOTTOM | {"runtime", "clients"},
    "sweep_table": frozenset(),
    "cluster": BOTTOM | {"runtime", "journal", "clients", "chunk_size"},
    **dict.fromkeys(LAYER_3, BELOW),
    "parallel": BELOW | {"cluster"},
    "search": BELOW | {"parallel"},
    "ddp": BELOW | {"parallel", "cluster"},
    "postfit": BELOW | {"parallel"},
    "computing": BELOW | {"parallel"},
    "scaling_study": BELOW | {"parallel", "plots"},
    "frames": BELOW | {"plots"},
    "bags": BELOW | {"frames"},
    "jobs": BELOW | {"report"},
    "starting": BELOW | {"cluster"},
    "cli": EVERYTHING,
    "__main__": frozenset({"cli"}),
    "": EVERYTHING,
}


class Import(NamedTuple):
    """One imported module, by its name below daskhpc ("" is daskhpc itself), and whether this process imports it."""

    module: str
    line: int
    for_types: bool
    in_text: bool


@cache
def modules() -> dict[str, Path]:
    """Every module by its name below daskhpc."""
    paths = {path: path.relative_to(ROOT).with_suffix("").parts for path in ROOT.rglob("*.py")}
    return {".".join(p for p in parts if p != "__init__"): path for path, parts in paths.items()}


@cache
def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), str(path))


def top(module: str) -> str:
    return module.partition(".")[0]


def imports(name: str, source: ast.Module, package: bool) -> Iterator[Import]:
    """Everything of daskhpc that a module imports, at its top, inside functions, and by names in texts."""
    own = ["daskhpc", *(name.split(".") if name else [])]
    types = {
        id(inner)
        for node in ast.walk(source)
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
        for inner in ast.walk(node)
    }
    docs = {id(d) for node in ast.walk(source) if (d := docstring(node)) is not None}
    for node in ast.walk(source):
        for full in named(node, own if package else own[:-1]) if id(node) not in docs else ():
            if full == "daskhpc" or full.startswith("daskhpc."):
                yield Import(below(full), getattr(node, "lineno", 0), id(node) in types, isinstance(node, ast.Constant))


def named(node: ast.AST, package: list[str]) -> Iterator[str]:
    """The full names that a node imports, or that a text gives to something that imports by name."""
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    elif isinstance(node, ast.ImportFrom):
        base = package[: len(package) - node.level + 1] if node.level else []
        start = ".".join([*base, *([node.module] if node.module else [])])
        yield from (f"{start}.{alias.name}" for alias in node.names)
    elif isinstance(node, ast.Constant) and isinstance(node.value, str):
        for match in re.finditer(r"\bdaskhpc\.(\w+)[\w.]*", node.value):
            if match[1] in MAY or match[1] in modules():
                yield match[0].rstrip(".")


def below(full: str) -> str:
    """``daskhpc.settings.Settings`` as ``settings``: the longest part that is a module; a public name as its home."""
    parts = full.split(".")[1:]
    known = {*modules(), *MAY}
    if parts and parts[0] not in known and daskhpc._HOMES.get(parts[0]):
        parts = [daskhpc._HOMES[parts[0]]]
    while parts and ".".join(parts) not in known:
        parts.pop()
    return ".".join(parts)


def docstring(node: ast.AST) -> ast.Constant | None:
    body = getattr(node, "body", None)
    first = body[0] if isinstance(body, list) and body else None
    if isinstance(first, ast.Expr) and isinstance(first.value, ast.Constant) and isinstance(first.value.value, str):
        return first.value
    return None


def broken(name: str, source: ast.Module, package: bool = False) -> list[str]:
    """Where a module imports what it may not."""
    own = top(name)
    allowed = MAY[own] | {own}
    return [
        f"daskhpc.{name}, line {found.line}: imports {found.module or 'daskhpc'}"
        for found in imports(name, source, package)
        # the package itself gives every public name; only the command may have its version from there
        if (top(found.module) not in allowed if found.module else own not in ("", "cli"))
    ]


def test_every_module_has_a_place() -> None:
    homeless = {top(name) for name in modules()} - set(MAY)
    assert not homeless, f"say in MAY what {sorted(homeless)} may import"


@pytest.mark.parametrize("name", sorted(modules()))
def test_imports_point_downward(name: str) -> None:
    path = modules()[name]
    assert broken(name, tree(path), path.name == "__init__.py") == []


@pytest.mark.parametrize(
    ("name", "line", "fine"),
    [
        ("runtime.x", "from ..launch import Command", False),
        ("launch.lines", "from daskhpc.runtime import discover", False),
        ("launch.lines", "def f():\n    import daskhpc.cluster", False),
        ("launch.lines", "from daskhpc import start", False),
        ("cluster.plan", "from ..launch.lines import Command", False),
        ("cluster.plan", "from .. import cli", False),
        ("cluster.plan", "from ..runtime.model import Sourced", True),
        ("search.grid", "from ..parallel.backend import Backend", True),
        ("search.grid", "from ..cluster.session import session", False),
        ("search.grid", "from ..report import plots", False),
        ("parallel.backend", "from ..search import grid", False),
        ("parallel.backend", "if x:\n    from ..ddp import train", False),
        ("arrays", "from .frames import x", False),
        ("arrays", "from . import frames", False),
        ("arrays", "from .errors import DaskhpcError", True),
        ("ddp.train", "import importlib\nimportlib.import_module('daskhpc.search.sweeps')", False),
        ("ddp.train", '"""Uses daskhpc.cluster not at all."""', True),
        ("report.table", "import daskhpc\ndaskhpc.start()", False),
        ("settings", "from .runtime import discover", False),
        ("errors", "from .settings import Settings", False),
        ("cli.run", "from ..cluster.user_program import run_as_main", True),
    ],
)
def test_the_rule_itself(name: str, line: str, fine: bool) -> None:
    assert (broken(name, ast.parse(line)) == []) is fine


@cache
def edges() -> frozenset[tuple[str, str]]:
    """Which module imports which, for types alone too."""
    return frozenset(
        (name, found.module)
        for name, path in modules().items()
        for found in imports(name, tree(path), path.name == "__init__.py")
        if name and found.module not in ("", name) and not found.in_text
    )


def in_order(pairs: frozenset[tuple[str, str]]) -> list[str]:
    sorter: TopologicalSorter[str] = TopologicalSorter()
    for importing, imported in pairs:
        sorter.add(importing, imported)
    return list(sorter.static_order())


def test_no_import_cycles() -> None:
    try:
        order = in_order(edges())
    except CycleError as error:
        pytest.fail(f"imports go round: {' -> '.join(error.args[1])}")
    assert order.index("errors") < order.index("settings") < order.index("cluster.plan") < order.index("cli.run")


def loaded(code: str, *names: str) -> set[str]:
    """Which of `names` a fresh interpreter has imported after `code`."""
    program = f"import sys\n{code}\nprint(*[n for n in {names!r} if n in sys.modules])"
    env = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run([sys.executable, "-c", program], env=env, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


HEAVY = ("mpi4py", "distributed", "dask_ml", "dask_mpi", "sklearn", "torch", "numpy", "pandas", "tornado", "asyncio")


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("import daskhpc", (*HEAVY, "dask", "click", "yaml", "socket", "subprocess")),
        ("import daskhpc; daskhpc.Settings; daskhpc.discover", HEAVY),
        ("import daskhpc; daskhpc.Settings; daskhpc.discover; daskhpc.errors; dir(daskhpc)", (*HEAVY, "dask")),
        ("import daskhpc; daskhpc.discover()", (*HEAVY, "dask")),
        ("import daskhpc.launch", (*HEAVY, "dask", "daskhpc.cluster", "daskhpc.runtime")),
        ("import daskhpc.cli", (*HEAVY, "dask")),
        ("import daskhpc.cli.submit, jinja2, daskhpc.launch.job_draft", (*HEAVY, "dask", "daskhpc.runtime")),
        ("import daskhpc; daskhpc.submit", (*HEAVY, "dask")),
        (
            "from daskhpc.cli import jobs, logs, cancel, submit, profile, config",
            (*HEAVY, "dask", "daskhpc.cluster", "daskhpc.parallel.backend"),
        ),
    ],
)
def test_what_an_import_leaves_unimported(code: str, names: tuple[str, ...]) -> None:
    assert loaded(code, *names) == set()


def test_the_check_of_imports_sees_imports() -> None:
    assert loaded("import dask.config", "dask", "numpy") == {"dask"}


def test_importing_starts_nothing(tmp_path: Path) -> None:
    code = (
        "import daskhpc, daskhpc.launch, daskhpc.cli, threading, os, atexit\n"
        "assert threading.active_count() == 1 and os.listdir() == [], os.listdir()\n"
        "assert atexit._ncallbacks() == before, atexit._ncallbacks()"
    )
    program = f"import click, logging, threading, atexit\nbefore = atexit._ncallbacks()\n{code}"
    subprocess.run([sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=120)


def test_every_public_name_is_there() -> None:
    assert len(set(daskhpc.__all__)) == len(daskhpc.__all__)
    for name in daskhpc.__all__:
        assert getattr(daskhpc, name) is not None
        assert name in dir(daskhpc)
    namespace: dict[str, object] = {}
    exec("from daskhpc import *", namespace)
    assert set(daskhpc.__all__) <= set(namespace)


def test_a_name_that_is_not_there() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'begin'; it has .*start"):
        daskhpc.begin  # noqa: B018
    assert not hasattr(daskhpc, "__wrapped__")


@pytest.mark.parametrize("package", [n for n, p in modules().items() if p.name == "__init__.py" and n])
def test_every_name_of_a_package_is_there(package: str) -> None:
    module = importlib.import_module(f"daskhpc.{package}")
    for name in getattr(module, "__all__", ()):
        assert getattr(module, name) is not None


def lines(node: ast.AST) -> int:
    """The lines of a function without its docstring."""
    doc = docstring(node)
    first, last = node.lineno, node.end_lineno  # type: ignore[attr-defined]
    return last - first + 1 - (doc.end_lineno - doc.lineno + 1 if doc and doc.end_lineno else 0)


@pytest.mark.parametrize("name", sorted(modules()))
def test_modules_and_functions_are_short(name: str) -> None:
    path = modules()[name]
    assert len(path.read_text().splitlines()) <= MODULE_LINES
    functions = [n for n in ast.walk(tree(path)) if isinstance(n, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert {f.name: lines(f) for f in functions if lines(f) > FUNCTION_LINES} == {}


# Names of other packages. What is private there stands in compat/ alone: a new release is then one file's work.
#
# A private name begins with an underscore, and no class of the module that uses it defines it; or it lies below one of
# PRIVATE_MODULES. Any name of another package that is replaced counts too. The check reads the text: a private method
# of another package that a class of daskhpc overrides escapes it.
PRIVATE_MODULES = ("pandas.core", "xarray.core")
FOREIGN_OBJECTS = ("client", "worker", "scheduler", "nanny", "future")  # whatever classes of daskhpc define
DOCUMENTED = {"_asdict", "_field_defaults", "_fields", "_make", "_replace"}  # of named tuples
DOCUMENTED |= {"_current_frames", "_exit", "_getframe", "_metadata"}  # of sys, os and, for subclasses, pandas
REPLACEABLE = {"sys.argv", "sys.excepthook", "sys.stderr", "sys.stdout", "threading.excepthook"}


def private(name: str) -> bool:
    return re.fullmatch(r"_[a-zA-Z]\w*(?<!_)", name) is not None and name not in DOCUMENTED


def attributes(source: ast.Module) -> set[str]:
    """The attributes that the classes of a module define: methods, fields, slots, and what methods assign to self."""
    names: set[str] = set()
    for kind in (node for node in ast.walk(source) if isinstance(node, ast.ClassDef)):
        names |= {node.name for node in kind.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
        for node in ast.walk(kind):
            if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
                names |= {node.attr} if ast.unparse(node.value) in ("self", "cls", kind.name) else set()
        for field in (node for node in kind.body if isinstance(node, ast.Assign | ast.AnnAssign)):
            target = field.targets[0] if isinstance(field, ast.Assign) else field.target
            names.add(ast.unparse(target))
            if names & {"__slots__"}:
                names |= {
                    item.value
                    for item in ast.walk(field)
                    if isinstance(item, ast.Constant) and isinstance(item.value, str)
                }
    return names


def foreign_names(source: ast.Module) -> set[str]:
    """The private names of other packages that a module uses, and the public ones that it replaces."""
    docs = {id(d) for node in ast.walk(source) if (d := docstring(node)) is not None}
    # Matplotlib leaves labels that begin with an underscore out of the legend.
    docs |= {id(node.value) for node in ast.walk(source) if isinstance(node, ast.keyword) and node.arg == "label"}
    imported = {
        alias.asname or top(alias.name)
        for node in ast.walk(source)
        if isinstance(node, ast.Import) or (isinstance(node, ast.ImportFrom) and not node.level)
        for alias in node.names
    }
    own, names = attributes(source), set()
    for node in ast.walk(source):
        if isinstance(node, ast.Import | ast.ImportFrom) and not getattr(node, "level", 0):
            names |= {full for full in named(node, []) if hidden(full)}
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            dotted = re.fullmatch(r"[a-z]\w*(\.\w+)+", node.value) is not None
            if (dotted and hidden(node.value)) or (private(node.value) and node.value not in own):
                names.add(node.value)
        elif isinstance(node, ast.Attribute) and private(node.attr):
            holder = ast.unparse(node.value).rpartition(".")[2]
            names |= {node.attr} if node.attr not in own or holder in FOREIGN_OBJECTS else set()
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            replaced = ast.unparse(node)
            names |= {replaced} if top(replaced) in imported and "(" not in replaced else set()
    return names - REPLACEABLE


def hidden(full: str) -> bool:
    """Whether a dotted name leads through something private of another package."""
    beginning, *rest = full.split(".")
    return beginning != "daskhpc" and (
        any(map(private, rest)) or private(beginning) or full.startswith(PRIVATE_MODULES)
    )


def test_foreign_private_names_stand_in_compat_alone() -> None:
    used = {name: foreign_names(tree(p)) for name, p in modules().items() if top(name) != "compat"}
    assert {name: names for name, names in used.items() if names} == {}


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("import os._x", {"os._x"}),
        ("from sklearn.utils._x import y", {"sklearn.utils._x.y"}),
        ("from sklearn.utils import _x", {"sklearn.utils._x"}),
        ("from pandas.core import common", {"pandas.core.common"}),
        ("from ._x import y\nfrom . import _z", set()),
        ("from __future__ import annotations", set()),
        ("sys.modules['sklearn._x']", {"sklearn._x"}),
        ("client._run(f)", {"_run"}),
        ("class X:\n    def _run(self): self.client._run", {"_run"}),
        ("other._own", {"_own"}),
        ("plot(label='_a')", set()),
        ("class X:\n    _own: int\ndef f(x: X): return x._own", set()),
        ("class X:\n    def f(self): self._own = 1\nX()._own", set()),
        ("def _own(): pass\nother._own", {"_own"}),
        ("class X:\n    def f(self): self._theirs", {"_theirs"}),
        ("row._replace(a=1)\nos._exit(1)", set()),
        ("getattr(x, '_theirs', None)", {"_theirs"}),
        ("vars(x)['_theirs']", {"_theirs"}),
        ("'''Of _theirs.'''", set()),
        ("import multiprocessing.spawn\nmultiprocessing.spawn.get = f", {"multiprocessing.spawn.get"}),
        ("import warnings\nwarnings.showwarning = f", {"warnings.showwarning"}),
        ("from dask import sizeof\nsizeof.random = f", {"sizeof.random"}),
        ("import sys\nsys.excepthook = f", set()),
        ("own.showwarning = f", set()),
    ],
)
def test_the_check_of_foreign_names_sees_them(line: str, names: set[str]) -> None:
    assert foreign_names(ast.parse(line)) == names


def test_every_function_of_compat_has_a_test() -> None:
    text = "\n".join(path.read_text() for path in (Path(__file__).parent / "compat").glob("test_*.py"))
    defined = {
        node.name
        for name, path in modules().items()
        if top(name) == "compat"
        for node in tree(path).body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef)
    }
    assert {name for name in defined if name[0] != "_" and not re.search(rf"\b{name}\b", text)} == set()


def test_a_class_name_stands_for_one_thing() -> None:
    homes: dict[str, list[str]] = {}
    for name, path in modules().items():
        for node in ast.walk(tree(path)):
            if isinstance(node, ast.ClassDef):
                homes.setdefault(node.name.lstrip("_"), []).append(name)
    assert {name: where for name, where in homes.items() if len(where) > 1} == {}
