"""The user's own code is what it says and refers to; a library's is its name and version."""

from __future__ import annotations

import functools
import importlib
import os
import pickle
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import cloudpickle
import numpy as np
import pytest
from sklearn.metrics import accuracy_score
from sklearn.svm import SVC

import daskhpc
from daskhpc.journal.bytecode import reads
from daskhpc.journal.code import handler as TAKE_APART
from daskhpc.journal.origins import origin
from daskhpc.journal.tokens import Tokens, token

SCRIPT = '''
import numpy as np
import helpers
from helpers import scale
from sklearn.base import BaseEstimator

FACTOR = 3
NAMES = {"a", "b", "c"}


def score(x, power=2):
    """Of x."""
    # as always
    return inner(scale(x)) * FACTOR + helpers.shift(x) + (x in NAMES)


def inner(x):
    return np.sqrt(x) if x else other(x)


def other(x):
    from helpers import scale as s
    return [(lambda y: y + x), (lambda y: y - x)], inner


class Model(BaseEstimator):
    """A model."""

    LEVEL = 1

    def __init__(self, a=1):
        self.a = a

    def fit(self, X, y=None):
        self.b_ = inner(self.a) + self.LEVEL
        return self


def make(k):
    def made(x):
        return x + k
    return made


lambdas = [lambda x: x + 1, lambda x: x + 2]
values = (score, Model, Model(), make(1), *lambdas)

if __name__ == "__main__":
    from daskhpc.journal.tokens import token
    print(*(token(value).hex() for value in values))
'''
HELPERS = """
STEP = 1

def scale(x):
    return x * 2

def shift(x):
    return x + STEP

def unused(x):
    return x
"""


Six = Callable[..., list[str]]


def written(folder: Path, script: str, helpers: str) -> None:
    folder.mkdir(exist_ok=True)
    (folder / "script.py").write_text(script)
    (folder / "helpers.py").write_text(helpers)


def forget() -> None:
    for name in ("script", "helpers"):
        sys.modules.pop(name, None)


@pytest.fixture
def six(monkeypatch: pytest.MonkeyPatch) -> Iterator[Six]:
    """The tokens of score, Model, Model(), a closure and two lambdas, of files that are imported."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def tokens(folder: Path, script: str = SCRIPT, helpers: str = HELPERS) -> list[str]:
        written(folder, script, helpers)
        forget()
        with monkeypatch.context() as inside:
            inside.syspath_prepend(str(folder))
            return [token(value).hex() for value in importlib.import_module("script").values]

    yield tokens
    forget()


@pytest.fixture
def plain(six: Six, tmp_path: Path) -> list[str]:
    return six(tmp_path / "plain")


def test_functions_of_a_script_differ(plain: list[str]) -> None:
    assert len(set(plain)) == len(plain) == 6


def test_comments_docstrings_formatting_and_places_do_not_count(tmp_path: Path, plain: list[str], six: Six) -> None:
    script = SCRIPT.replace('"""Of x."""', '"""Of something else.\n\n    In many words."""').replace("# as always", "")
    script = script.replace("FACTOR = 3", "\n\n# three\nFACTOR = (3)").replace("x * ", "x*").replace("A model", "One")
    helpers = HELPERS.replace("x * 2", "(x\n        * 2)  # twice")
    assert six(tmp_path / "elsewhere", script, helpers) == plain


def test_a_script_that_runs_has_the_tokens_of_the_module(tmp_path: Path, plain: list[str]) -> None:
    written(tmp_path / "run", SCRIPT, HELPERS)
    done = subprocess.run(
        [sys.executable, str(tmp_path / "run" / "script.py")],
        env={**os.environ, "PYTHONHASHSEED": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.stdout.split() == plain, done.stderr


SCORE, MODEL, INSTANCE, CLOSURE, FIRST, SECOND = range(6)


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [
        ("FACTOR = 3", "FACTOR = 4", {SCORE}),
        ('"c"}', '"d"}', {SCORE}),
        ("power=2", "power=3", {SCORE}),
        ("np.sqrt(x)", "np.cbrt(x)", {SCORE, MODEL, INSTANCE}),
        ("y - x", "y * x", {SCORE, MODEL, INSTANCE}),
        ("LEVEL = 1", "LEVEL = 2", {MODEL, INSTANCE}),
        ("self.a = a", "self.a = -a", {MODEL, INSTANCE}),
        ("a=1", "a=2", {MODEL, INSTANCE}),
        ("x + k", "k + x", {CLOSURE}),
        ("make(1)", "make(2)", {CLOSURE}),
        ("x + 1", "x + 9", {FIRST}),
        ("x + 2", "x + 9", {SECOND}),
        ("BaseEstimator):", "BaseEstimator, dict):", {MODEL, INSTANCE}),
    ],
)
def test_an_edit_changes_what_refers_to_it(
    old: str, new: str, changed: set[int], tmp_path: Path, plain: list[str], six: Six
) -> None:
    assert old in SCRIPT
    now = six(tmp_path, SCRIPT.replace(old, new))
    assert {i for i in range(6) if now[i] != plain[i]} == changed


@pytest.mark.parametrize(
    ("old", "new", "changed"),
    [("x * 2", "x * 3", {SCORE, MODEL, INSTANCE}), ("STEP = 1", "STEP = 2", {SCORE, MODEL, INSTANCE})],
)
def test_an_edited_helper_is_a_changed_function(
    old: str, new: str, changed: set[int], tmp_path: Path, plain: list[str], six: Six
) -> None:
    now = six(tmp_path, SCRIPT, HELPERS.replace(old, new))
    assert {i for i in range(6) if now[i] != plain[i]} == changed


def module(folder: Path, name: str, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    (folder / f"{name}.py").write_text(textwrap.dedent(text))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, name, raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    return __import__(name)


TEXT = """
    import functools
    LIMIT = 3

    def helper(x):
        return x > LIMIT

    def score(x):
        return helper(x), score

    class Model:
        def fit(self):
            return helper(self), Model

        @property
        def name(self):
            return "n"

    @functools.lru_cache
    def cached(x):
        return helper(x)
"""


def test_what_arrives_by_cloudpickle_is_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = module(tmp_path, "arriving", TEXT, monkeypatch)
    cloudpickle.register_pickle_by_value(loaded)
    try:
        for value in (loaded.score, loaded.Model, loaded.Model()):
            assert token(pickle.loads(cloudpickle.dumps(value))) == token(value)
    finally:
        cloudpickle.unregister_pickle_by_value(loaded)


def test_the_name_of_the_module_does_not_matter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = (module(tmp_path, name, TEXT, monkeypatch) for name in ("one_name", "other_name"))
    for name in ("score", "Model", "cached"):
        assert token(getattr(one, name)) == token(getattr(other, name))


def test_a_file_that_is_edited_while_the_program_runs_makes_no_difference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = module(tmp_path, "edited", TEXT, monkeypatch)
    before = token(loaded.helper)
    edited = TEXT.replace("x > LIMIT", "x < LIMIT")
    (tmp_path / "edited.py").write_text(textwrap.dedent(edited))
    assert token(loaded.helper) == before
    assert token(module(tmp_path, "edited", edited, monkeypatch).helper) != before


def compiled(text: str) -> Any:
    space: dict[str, Any] = {"__name__": "__main__"}
    exec(text, space)
    return space


def test_docstrings_and_what_nothing_loads_do_not_count() -> None:
    text = """def f(x):
    {}
    class Inner:
        {}
        def g(self): self.a = x
    return x + 1, Inner
"""
    docs = [text.format(*docs) for docs in (("pass", "pass"), ("'1'", "pass"), ("pass", "'2'"), ("'a'", "'b'"))]
    assert len({token(compiled("\n" * lines + doc)["f"]) for lines in (0, 300) for doc in docs}) == 1
    other = compiled(text.format("pass", "level = 1"))["f"]
    assert token(other) != token(compiled(docs[0])["f"])


def test_a_constant_that_is_the_docstring_too_counts() -> None:
    one, other = (compiled(f"def f(): '{text}'; return '{text}'")["f"] for text in "ab")
    assert token(one) != token(other)


def test_a_text_inside_a_comprehension_counts() -> None:
    one, other = (compiled(f"def f(x): return ['{text}' for _ in x]")["f"] for text in "ab")
    assert token(one) != token(other)


def test_lambdas_of_one_line_are_told_apart() -> None:
    one, two, three = (lambda x: x + 1), (lambda x: x + 2), (lambda x: lambda y: x)
    assert len({token(one), token(two), token(three), token(three(1)), token(three(2))}) == 5
    assert token(three(1)) == token(three(1))


def test_what_code_reads_of_its_module() -> None:
    def f() -> Any:
        import os.path
        from json import dumps

        return np.random.default_rng, accuracy_score, os.path, dumps, [SCRIPT for _ in range(3)]

    found = reads(f.__code__)
    assert {("np", "random", "default_rng"), ("accuracy_score",), ("SCRIPT",), ("range",)} <= set(found.names)
    assert {(name, of) for _, name, of in found.imports} == {("os.path", ()), ("json", ("dumps",))}


def test_a_decorator_of_a_library_keeps_what_it_decorates() -> None:
    def make(factor: int) -> Callable[..., Any]:
        @contextmanager
        def managed() -> Any:
            yield factor

        return managed

    assert token(make(1)) == token(make(1)) != token(make(2))

    def wrapping(f: Callable[..., Any], extra: int) -> Callable[..., Any]:
        @functools.wraps(f)
        def wrapper(*args: Any) -> Any:
            return f(*args), extra

        return wrapper

    assert len({token(wrapping(np.mean, 1)), token(wrapping(np.mean, 2)), token(np.mean)}) == 3


DISPATCHED = """
import functools
@functools.singledispatch
def area(x): return 0
@area.register
def _(x: int): return area(str(x)) + {}
@area.register
def _(x: list): return sum(map(area, x))
class Shape:
    @functools.singledispatchmethod
    def area(self, x): return 0
    @area.register
    def _(self, x: int): return {}
    @area.register
    def _(self, x: list): return 0
def f(x): return area(x)
def g(x): return Shape().area(x)
"""


@pytest.mark.parametrize(("name", "counting"), [("f", 0), ("g", 1)])
def test_each_implementation_of_a_dispatched_function_counts(name: str, counting: int) -> None:
    space = compiled(DISPATCHED.format(1, 1))
    plain = token(space[name])
    assert space["f"]([1]) == 1
    assert space["g"](1) == 1
    assert token(space[name]) == plain, "what it has dispatched already does not count"
    for at in (0, 1):
        changed = token(compiled(DISPATCHED.format(*(2 if n == at else 1 for n in (0, 1))))[name])
        assert (changed != plain) == (at == counting)


def test_where_code_is_from() -> None:
    assert origin("json") == origin("os.path") == origin("builtins") == (False, "")
    assert origin("sklearn.svm._classes").version.startswith("scikit-learn ")
    assert origin("numpy").version.startswith("numpy ")
    assert origin("__main__").own
    assert origin(__name__).own
    assert origin("no_such_module").own
    assert not origin("daskhpc.errors").own
    assert origin("daskhpc.errors").version


def test_a_function_is_looked_at_once_until_forgotten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, tokens = module(tmp_path, "kept_code", TEXT, monkeypatch), Tokens()
    before = tokens.token(loaded.score)
    loaded.LIMIT = 4
    assert tokens.token(loaded.score) == before
    tokens.forget()
    assert tokens.token(loaded.score) != before


def test_a_global_without_a_key_counts_by_its_type() -> None:
    text = "import threading, sys\nLOCK = {}\ndef f():\n    return LOCK"
    one, same, other = (compiled(text.format(v))["f"] for v in ("threading.Lock()", "threading.Lock()", "sys.stdin"))
    assert token(one) == token(same) != token(other)


def test_generated_methods_do_not_hide_those_that_were_written() -> None:
    text = """
import dataclasses, enum, typing
@dataclasses.dataclass
class D:
    a: int
    b: int = {}
    def f(self): return {}
class E(enum.Enum):
    A = {}
    def f(self): return {}
class N(typing.NamedTuple):
    a: int = {}
    def f(self): return {}
"""
    for name in "DEN":
        seen = {token(compiled(text.format(*[a, b] * 3))[name]) for a in (1, 2) for b in (1, 2) for _ in range(2)}
        assert len(seen) == 4, name


def test_a_library_class_is_not_its_instance_nor_its_name() -> None:
    assert len({token(SVC), token(SVC()), token("SVC"), token(SVC.fit), token(SVC().fit)}) == 5


PACKAGE = {
    "used/__init__.py": "from .core import build",
    "used/core.py": "import json\nfrom . import deep\nfrom .. import nothing\ndef build(x): return deep.times(x)",
    "used/deep.py": "from used.core import build\ndef times(x): return x * 2",
    "using.py": "def work(x):\n    from used import build\n    return build(x)",
}


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("used/deep.py", "x * 2", "x * 3", True),
        ("used/core.py", "deep.times(x)", "deep.times(x) + 1", True),
        ("used/deep.py", "x * 2", "x*2  # twice", False),
        ("used/core.py", "import json", "import sklearn", True),
    ],
)
def test_what_a_module_imports_counts_where_a_function_imports_it(
    file: str, old: str, new: str, changed: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)

    def work(folder: Path, files: dict[str, str]) -> bytes:
        (folder / "used").mkdir(parents=True)
        for name, text in files.items():
            (folder / name).write_text(text)
        with monkeypatch.context() as inside:
            inside.syspath_prepend(str(folder))
            inside.delitem(sys.modules, "using", raising=False)
            return token(importlib.import_module("using").work)

    assert old in PACKAGE[file]
    now = {**PACKAGE, file: PACKAGE[file].replace(old, new)}
    assert (work(tmp_path / "now", now) != work(tmp_path / "before", PACKAGE)) == changed


def test_a_function_in_the_place_of_a_library_is_not_the_library(monkeypatch: pytest.MonkeyPatch) -> None:
    def replaced(factor: float) -> Callable[..., Any]:
        @functools.wraps(accuracy_score)
        def score(*args: Any) -> Any:
            return factor

        return score

    seen = {token(accuracy_score)}
    for factor in (1.0, 2.0):
        monkeypatch.setattr(sys.modules[accuracy_score.__module__], "accuracy_score", score := replaced(factor))
        seen.add(token(score))
    assert len(seen) == 3


def test_of_a_global_without_a_key_the_parts_count() -> None:
    text = """
import threading
class Model:
    def __init__(self, a):
        self.a, self.lock, self.me = a, threading.Lock(), self
    def run(self, x):
        return self.a * x + {}, model
model, table, row = Model({}), {{"lock": threading.Lock(), "a": {}}}, [threading.Lock(), {}]
def f(x): return model.run(x), g
def g(x): return table, f, Model
def h(x): return row
"""
    for name, counting in (("f", (0, 1, 2)), ("g", (0, 1, 2)), ("h", (3,))):
        plain = token(compiled(text.format(0, 0, 0, 0))[name])
        assert token(compiled(text.format(0, 0, 0, 0))[name]) == plain
        for at in range(4):
            changed = token(compiled(text.format(*(int(at == n) for n in range(4))))[name])
            assert (changed != plain) == (at in counting), (name, at)


def test_the_parts_of_a_global_without_a_key_are_the_same_whatever_was_looked_at_before() -> None:
    space = compiled(
        "import threading\nclass M:\n def __init__(self): self.lock, self.all = threading.Lock(), [self, f]\n"
        " def run(self): return model, f\ndef f(): return model.run(), g\ndef g(): return model, f, M\nmodel = M()"
    )
    found = set()
    for order in ("fgM", "gfM", "Mgf", "Mfg"):
        tokens = Tokens()
        found.add(tuple(sorted((name, tokens.token(space[name])) for name in order)))
    assert len(found) == 1


def test_what_is_met_inside_a_global_without_a_key_changes_nothing() -> None:
    space = compiled(
        "import threading, weakref\nalive = weakref.WeakSet()\nclass M:\n def __init__(self):\n"
        "  self.first, self.lock = f, threading.Lock()\n  alive.add(self)\n"
        "def f(): return g, M\ndef g(): return M(), f\ndef h(): return alive, f, g"
    )
    before = {name: token(space[name]) for name in "Mfgh"}
    model = space["M"]()
    assert {name: token(space[name]) for name in "Mfgh"} == before
    assert model in space["alive"]


def test_a_function_of_pybind11_counts_by_its_module() -> None:
    fft = pytest.importorskip("scipy.fft._pocketfft.pypocketfft")
    found = TAKE_APART(type(fft.c2c))(fft.c2c)  # type: ignore[misc]
    assert found.children == [fft.__name__, "c2c", origin("scipy").version]


def test_a_shared_library_counts_by_its_file(tmp_path: Path) -> None:
    text = "import ctypes\nlib = ctypes.CDLL({!r})\nlib.cos.restype = ctypes.c_double\ncos = lib.cos\n"
    text += "def f(x): return lib.cos(x)\ndef g(x): return cos(x)"
    found = next(Path("/").glob("lib/*-linux-gnu/libm.so.6"), None) or next(Path("/").glob("lib64/libm.so.6"))
    one, same, other = (tmp_path / name / "libmodel.so" for name in ("one", "same", "other"))
    for path in (one, same, other):
        path.parent.mkdir()
        path.write_bytes(found.read_bytes() + (b"more" if path is other else b""))
    for name in "fg":
        a, b, c = (token(compiled(text.format(str(path)))[name]) for path in (one, same, other))
        assert a == b != c


def test_files_of_a_library_that_was_installed_from_a_folder_count(tmp_path: Path) -> None:
    def found(folder: Path, digest: str, url: bool) -> str:
        info = folder / "site-packages" / "homemade-1.0.dist-info"
        info.mkdir(parents=True)
        (folder / "site-packages" / "homemade.py").write_text("def f(x): return x")
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: homemade\nVersion: 1.0\n")
        (info / "RECORD").write_text(
            f"homemade.py,sha256={digest},9\nhomemade-1.0.dist-info/direct_url.json,sha256={folder.name},9\n"
            f"__pycache__/homemade.pyc,,\n../../bin/homemade,sha256={folder.name},9\n"
        )
        if url:
            (info / "direct_url.json").write_text("{}")
        program = "import homemade; from daskhpc.journal.tokens import token; print(token(homemade.f).hex())"
        path = os.pathsep.join([str(info.parent), str(Path(daskhpc.__file__).parents[1])])
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"},
            capture_output=True,
            text=True,
            timeout=120,
        )
        return done.stdout or done.stderr

    one, same, other = (found(tmp_path / name, d, True) for name, d in (("one", "a"), ("same", "a"), ("other", "b")))
    assert len(one) == 33
    assert one == same != other
    assert found(tmp_path / "index", "a", False) == found(tmp_path / "again", "b", False) != one
