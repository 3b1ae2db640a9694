"""A program that daskhpc runs behaves as under plain python: every test compares the two."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import pytest

# What daskhpc run does on the client's rank, without the cluster; dask_mpi apart, which takes a second to import.
DRIVER = """
import sys
sys.modules["dask_mpi"] = None
from daskhpc.cluster.user_program import put_first, run_as_main
how, target, *arguments = sys.argv[1:]
put_first(target, how == "-m")
run_as_main(target, arguments, how == "-m")
"""
HOSTILE = ["a b", "", "it's", '"', "; echo no", "$HOME", "-m", "--", "two\nlines", "*", "é"]


class Done(NamedTuple):
    code: int
    out: str
    err: str


def execute(argv: Sequence[str], folder: Path) -> Done:
    done = subprocess.run(
        [sys.executable, *argv],
        cwd=folder,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    # As a shell reports the end by a signal, which python chooses for an interrupt.
    return Done(done.returncode if done.returncode >= 0 else 128 - done.returncode, done.stdout, done.stderr)


def comparable(err: str) -> str:
    """Without addresses, and without the two frames of ``python -m`` itself; it has more room for recursion."""
    err = re.sub(r'(  \|)?   ?File "<frozen runpy>".*\n', "", err)
    return re.sub(r"(?<=repeated )\d+(?= more)", "N", re.sub(r"0x[0-9a-f]+", "0x", err))


class Folder:
    """A folder with programs, each run under plain python and under daskhpc."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def write(self, text: str | bytes, name: str = "program.py") -> None:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(text.encode() if isinstance(text, str) else text)

    def both(self, target: str, *arguments: str, module: bool = False) -> tuple[Done, Done]:
        how = ["-m", target] if module else [target]
        under_ours = ["-c", DRIVER, "-m" if module else "--", target]
        with ThreadPoolExecutor(2) as pool:
            plain, ours = pool.map(lambda argv: execute([*argv, *arguments], self.folder), (how, under_ours))
        return plain._replace(err=comparable(plain.err)), ours._replace(err=comparable(ours.err))

    def alike(self, text: str | bytes, *arguments: str, module: bool = False) -> Done:
        """Both do the same, to the letter; what they did."""
        self.write(text)
        plain, ours = self.both("program" if module else "program.py", *arguments, module=module)
        assert ours == plain
        return ours


@pytest.fixture
def folder(tmp_path: Path) -> Folder:
    (tmp_path / "here").mkdir()
    return Folder(tmp_path / "here")


MODES = pytest.mark.parametrize("module", [False, True], ids=["script", "module"])

WHERE = """
import os, sys, __main__
print(sys.argv, __name__, os.path.abspath(__file__), sys.path[0], os.getcwd())
print(__package__, __doc__, __main__.__dict__ is globals(), sys.modules["__main__"] is __main__)
"""


@MODES
def test_where_it_is(folder: Folder, module: bool) -> None:
    assert folder.alike(WHERE, *HOSTILE, module=module).code == 0


@pytest.mark.parametrize(
    "name",
    ["program.py", 'it\'s a "program"; echo no.py', "two\nlines.py", "deep/er/program", "é.py", "-dash.py", "a.b.c"],
)
def test_where_a_script_is_with_a_hostile_name(folder: Folder, name: str) -> None:
    folder.write(WHERE, name)
    for target in (os.path.join(".", name), str(folder.folder / name)):
        plain, ours = folder.both(target, "x")
        assert ours == plain
        assert ours.code == 0


def test_a_link_to_a_script_has_the_modules_beside_the_script(folder: Folder) -> None:
    folder.write("import beside\n" + WHERE, "real/program.py")
    folder.write("", "real/beside.py")
    (folder.folder / "link.py").symlink_to("real/program.py")
    plain, ours = folder.both("link.py")
    assert ours == plain
    assert ours.code == 0


def test_modules_beside_the_script_and_not_those_of_the_working_directory(folder: Folder) -> None:
    folder.write("import beside; print(beside.__file__)", "code/program.py")
    folder.write("", "code/beside.py")
    folder.write("raise SystemExit('the wrong one')", "beside.py")
    plain, ours = folder.both("code/program.py")
    assert ours == plain
    assert ours.code == 0


PACKAGE = {
    "package/__init__.py": "print('package', __name__)",
    "package/tool.py": "from . import part" + WHERE,
    "package/part.py": "print('part', __name__)",
    "package/__main__.py": WHERE,
}


@pytest.mark.parametrize("target", ["package.tool", "package", "package.__main__"])
def test_a_module_of_a_package(folder: Folder, target: str) -> None:
    for name, text in PACKAGE.items():
        folder.write(text, name)
    plain, ours = folder.both(target, *HOSTILE, module=True)
    assert ours == plain
    assert ours.code == 0


@pytest.mark.parametrize(
    ("target", "word"),
    [
        pytest.param("nothing", "No module named nothing"),
        pytest.param("nothing.at.all", "nothing"),
        pytest.param("plain", "is a package and cannot be directly executed"),
        ("broken", "ZeroDivisionError"),
    ],
)
def test_a_module_that_cannot_be_run(folder: Folder, target: str, word: str) -> None:
    folder.write("", "plain/__init__.py")
    folder.write("1/0", "broken/__init__.py")
    folder.write("", "broken/__main__.py")
    plain, ours = folder.both(target, module=True)
    assert word in plain.err
    assert ours.code == plain.code == 1
    assert word in ours.err
    assert ours.err.splitlines()[-1] == plain.err.splitlines()[-1]


@MODES
@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("", 0),
        ("import sys; sys.exit()", 0),
        ("import sys; sys.exit(3)", 3),
        ("import sys; sys.exit(-1)", 255),
        ("import sys; sys.exit(256)", 0),
        ("import sys; sys.exit(True)", 1),
        ("import sys; sys.exit('a text')", 1),
        ("import sys; sys.exit(('a', 'tuple'))", 1),
        ("raise SystemExit(4)", 4),
        ("exit(5)", 5),
        ("import os; os._exit(6)", 6),
        ("raise KeyError('x')", 1),
        ("raise KeyboardInterrupt", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGINT)\nimport time; time.sleep(60)", 130),
        ("import os, signal; os.kill(os.getpid(), signal.SIGTERM)\nimport time; time.sleep(60)", 143),
        ("import os; os.abort()", 134),
        ("raise GeneratorExit", 1),
        ("class Mine(BaseException): pass\nraise Mine('x')", 1),
        ("import sys\ntry:\n    sys.exit(3)\nfinally:\n    print('finally')", 3),
        ("import sys\ntry:\n    1 / 0\nfinally:\n    sys.exit(7)", 7),
        ("import sys, threading\nthreading.Thread(target=sys.exit, args=(3,)).start()", 0),
        ("import threading\nthreading.Thread(target=lambda: 1 / 0, name='T').start()", 0),
        ("import asyncio\nasync def f(): raise SystemExit(8)\nasyncio.run(f())", 8),
    ],
)
def test_the_exit_code(folder: Folder, text: str, code: int, module: bool) -> None:
    assert folder.alike(text, module=module).code == code


TRACEBACKS = {
    "deep": "def f():\n    g()\n\ndef g():\n    raise ValueError('mine\\ntwo lines')\n\nf()\n",
    "library": "import json\njson.loads('{')\n",
    "cause": "def f():\n    1 / 0\ntry:\n    f()\nexcept Exception as e:\n    raise KeyError(2) from e\n",
    "context": "def g():\n    raise ValueError(3)\ntry:\n    1 / 0\nexcept Exception:\n    g()\n",
    "no-context": "try:\n    1 / 0\nexcept Exception:\n    raise KeyError(2) from None\n",
    "syntax": "x = (\n",
    "indentation": "  x = 1\n   y = 2\n",
    "import": "import nothing_of_this_name\n",
    "import-of-broken": "import beside\n",
    "attribute": "import os\nos.getcwdd()\n",
    "name": "def first(): pass\nfirs()\n",
    "group": "raise ExceptionGroup('two', [ValueError(1), KeyError(2)])\n",
    "note": "e = ValueError('x')\ne.add_note('a note')\nraise e\n",
    "recursion": "def f(): f()\nf()\n",
    "lambda": "(lambda: 1 / 0)()\n",
    "exec": "exec('1 / 0')\n",
    "hook": "import sys\nsys.excepthook = lambda *args: print('hook', args[0].__name__, args[1])\n1/0\n",
    "broken-hook": "import sys\nsys.excepthook = lambda *args: 1 / 0\nraise KeyError(1)\n",
    "in-an-exit-handler": "import atexit\natexit.register(lambda: 1 / 0)\n",
    "unraisable": "class A:\n    def __del__(self): raise ValueError\nA()\n",
    "warning": "import warnings\nwarnings.warn('mine')\nwarnings.warn('old', DeprecationWarning)\n",
    "logging": "import logging\ntry:\n    1 / 0\nexcept Exception:\n    logging.exception('words')\n",
    "printed": "import traceback\ntry:\n    1 / 0\nexcept Exception:\n    traceback.print_exc()\n",
}


@MODES
@pytest.mark.parametrize("name", [pytest.param(name) for name in TRACEBACKS])
def test_what_it_says_shows_the_programs_own_frames_alone(folder: Folder, name: str, module: bool) -> None:
    folder.write("def f():\n    raise OSError('beside')\nf()\n", "beside.py")
    done = folder.alike(TRACEBACKS[name], module=module)
    assert "daskhpc" not in done.err
    assert "runpy" not in done.err


CONTENTS: dict[str, str | bytes] = {
    "an-encoding": "# -*- coding: latin-1 -*-\nprint(ascii('é'))\n".encode("latin-1"),
    "a-byte-order-mark": b"\xef\xbb\xbfprint('\xc3\xa9')\n",
    "returns": b"if True:\r\n    print('a')\r\n",
    "a-first-line": "#!/usr/bin/env python\nprint('a')\n",
    "a-docstring": '"""Its text."""\nprint(__doc__)\n',
    "no-newline-at-the-end": "print('a')",
    "nothing": "",
}


@pytest.mark.parametrize("name", CONTENTS)
def test_what_a_file_may_hold(folder: Folder, name: str) -> None:
    folder.alike(CONTENTS[name])


@pytest.mark.parametrize("text", [b"x = '\xff'\n", b"print(1\n"])
def test_what_a_file_may_not_hold(folder: Folder, text: bytes) -> None:
    """The words are those of another tokenizer; the kind is the same, and nothing of it runs."""
    folder.write(text)
    for done in folder.both("program.py"):
        assert (done.code, done.out) == (1, "")
        assert done.err.splitlines()[-1].startswith("SyntaxError: ")
        assert "Traceback" not in done.err


MAIN = {
    "pickle": "import pickle\nclass A: pass\nprint(type(pickle.loads(pickle.dumps(A()))) is A, A.__module__)\n",
    "import-main": "X = 1\ndef f():\n    import __main__\n    return __main__.X\nprint(f())\n",
    "dataclass": (
        "import dataclasses, typing\n@dataclasses.dataclass\nclass A:\n    x: typing.ClassVar[int] = 1\n"
        "    y: 'int' = 2\nprint(A(), [f.name for f in dataclasses.fields(A)], typing.get_type_hints(A))\n"
    ),
    "future-annotations": (
        "from __future__ import annotations\nimport dataclasses, typing\n@dataclasses.dataclass\nclass A:\n"
        "    x: typing.ClassVar[int] = 1\n    y: B | None = None\n\nclass B: pass\n"
        "print([f.name for f in dataclasses.fields(A)], typing.get_type_hints(A), A.__annotations__)\n"
    ),
    "named-tuple": (
        "import typing, pickle\nclass A(typing.NamedTuple):\n    x: int\nprint(pickle.loads(pickle.dumps(A(1))))\n"
    ),
    "enum": "import enum, pickle\nclass A(enum.Enum):\n    x = 1\nprint(pickle.loads(pickle.dumps(A.x)) is A.x)\n",
    "source": "import inspect\ndef f(): return 1\nprint(inspect.getsource(f), inspect.getmodule(f).__name__)\n",
    "help": "def f():\n    'Its text.'\nhelp(f)\n",
    "doctest": (
        "def f():\n    '''\n    >>> f()\n    1\n    '''\n    return 1\nimport doctest\nprint(doctest.testmod())\n"
    ),
    "processes": (
        "import multiprocessing\ndef f(x): return x + 1\nif __name__ == '__main__':\n"
        "    with multiprocessing.get_context('spawn').Pool(1) as pool: print(pool.map(f, [1, 2]))\n"
    ),
    "forked-processes": (
        "import multiprocessing\ndef f(x): return x + 1\n"
        "with multiprocessing.get_context('fork').Pool(1) as pool: print(pool.map(f, [1, 2]))\n"
    ),
    "argparse": "import argparse\nargparse.ArgumentParser().parse_args(['--nothing'])\n",
    "standard-streams": "import sys\nprint(sys.stdin.read() == '', end='')\nsys.stderr.write('no newline')\n",
    "exit-handler": "import atexit\nX = [1]\natexit.register(lambda: print('at exit', X, __name__))\nprint('end')\n",
    "thread-at-the-end": (
        "import threading\nX = 1\ndef f():\n    threading.main_thread().join()\n    print('thread', X)\n"
        "threading.Thread(target=f).start()\nprint('end')\n"
    ),
    "weak-references-at-the-end": "import weakref\nclass A: pass\na = A()\nweakref.finalize(a, print, 'finalized')\n",
    "del-at-the-end": "class A:\n    def __del__(self): print('del', self.x)\na = A(); a.x = 1\n",
    "string-annotations": "def f(x: int) -> str: ...\nprint(f.__annotations__)\n",
    "dispatch": (
        "import functools\n@functools.singledispatch\ndef f(x): print('any')\n"
        "@f.register\ndef _(x: int): print('int')\nf(1)\nf('')\n"
    ),
    "a-class-of-annotations": "class A:\n    x: int\nprint(A.__annotations__)\n",
    "builtins": "print(__builtins__.__name__, hasattr(__builtins__, 'print'))\n",
    "annotations-of-the-module": "print(__annotations__)\n",
    "names": "print(sorted(globals()))\n",
    "loader": "print(type(__loader__).__name__, __spec__ is None)\n",
    "main-at-the-end": (
        "import atexit, pickle, sys\nclass A: pass\n"
        "atexit.register(lambda: print(type(pickle.loads(pickle.dumps(A()))) is A, sys.argv[1:]))\n"
    ),
    "main-for-a-thread-at-the-end": (
        "import threading, sys\nX = 1\ndef f():\n    threading.main_thread().join()\n"
        "    import __main__\n    print(__main__.X, sys.argv)\nthreading.Thread(target=f).start()\n"
    ),
}


@pytest.mark.parametrize(
    ("name", "module"),
    [
        pytest.param(name, module, id=f"{name}-{kind}")
        for name in MAIN
        for module, kind in ((False, "script"), (True, "module"))
    ],
)
def test_it_is_the_main_module(folder: Folder, name: str, module: bool) -> None:
    folder.alike(MAIN[name], "x", module=module)


def test_the_search_path_is_pythons_own(folder: Folder) -> None:
    folder.alike("import sys; print(sys.path)")
    folder.alike("import sys; print(sys.path)", module=True)


def test_dask_mpi_in_a_program_finds_the_cluster_that_runs(folder: Folder) -> None:
    """Its ``initialize`` becomes ours, its ``execute`` the call of the function."""
    folder.write(
        """
import dask_mpi, daskhpc
from dask_mpi import execute, initialize
print(initialize is daskhpc.initialize)
def f(*args, **kwargs): print("called", args, kwargs)
execute(f, (1, 2), {"x": 3}, interface="ib0")
execute(f)
execute()
"""
    )
    code = "from daskhpc.cluster.user_program import run_as_main; run_as_main('program.py', [], False)"
    done = execute(["-c", code], folder.folder)
    assert (done.code, done.out, done.err) == (0, "True\ncalled (1, 2) {'x': 3}\ncalled () {}\n", "")
