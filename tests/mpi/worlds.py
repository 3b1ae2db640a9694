"""Programs that set up a world as programs do: each has to print the same however it is started.

As a program (``worlds.py FOLDER``) it starts a cluster and runs every one of them in a forked child of the client's
process, as ``daskhpc run`` runs a program there; FOLDER gets what each printed. One start serves them all.
"""

from __future__ import annotations

import atexit
import json
import os
import sys
import textwrap
from pathlib import Path
from typing import NamedTuple


class World(NamedTuple):
    """A program: its text, its arguments, whether it is started by ``-m``, and files beside it."""

    text: str
    args: tuple[str, ...] = ()
    module: str = ""
    files: tuple[tuple[str, str], ...] = ()
    name: str = "program.py"


WORLDS = {
    "cwd": World(
        """
        import os
        print(os.getcwd())
        os.makedirs('sub', exist_ok=True)
        os.chdir('sub')
        print(os.getcwd())
        """,
    ),
    "relative-files": World(
        """
        open('made.txt', 'w').write('x')
        print(open('made.txt').read(), open('in.txt').read())
        """,
        files=(("in.txt", "in"),),
    ),
    "path": World(
        """
        import sys
        sys.path.append('lib')
        from libmod import f
        print(f(), sys.path[0], sys.path[-1])
        """,
        files=(("lib/libmod.py", "def f():\n    return 'lib'"),),
    ),
    "path-first": World(
        """
        import sys, os
        sys.path.insert(0, os.path.join(os.path.dirname(__file__), 'lib'))
        import beside
        print(beside.WHO)
        """,
        files=(
            ("lib/beside.py", "WHO = 'lib'"),
            ("beside.py", "WHO = 'beside'"),
        ),
    ),
    "beside": World(
        """
        import helper, sys
        print(helper.f(2), helper.__name__, helper.__file__, 'helper' in sys.modules)
        """,
        files=(("helper.py", "def f(x):\n    return x * 2"),),
    ),
    "environment": World(
        """
        import os, subprocess, sys
        os.environ['MINE'] = 'a b'
        code = 'import os; print(os.environ["MINE"])'
        print(subprocess.check_output([sys.executable, '-c', code], text=True))
        del os.environ['MINE']
        print(os.getenv('MINE'))
        """,
    ),
    "umask": World(
        """
        import os
        old = os.umask(0o27)
        print(oct(old), oct(os.umask(old)))
        """,
    ),
    "logging-default": World(
        """
        import logging, sys
        print(logging.root.handlers, logging.root.level, logging.getLogger('x').isEnabledFor(20))
        logging.warning('seen')
        logging.info('unseen')
        """,
    ),
    "logging-basic": World(
        """
        import logging, sys
        logging.basicConfig(level=logging.INFO, stream=sys.stdout, format='%(levelname)s %(name)s %(message)s')
        logging.info('root')
        logging.getLogger('mine').debug('no')
        logging.getLogger('mine').error('yes')
        """,
    ),
    "logging-dict": World(
        """
        import logging, sys
        import logging.config
        handler = {'class': 'logging.StreamHandler', 'stream': 'ext://sys.stdout'}
        root = {'handlers': ['h'], 'level': 'DEBUG'}
        logging.config.dictConfig({'version': 1, 'handlers': {'h': handler}, 'root': root})
        logging.getLogger('a.b').debug('debug')
        print(len(logging.root.handlers))
        """,
    ),
    "logging-last-resort": World(
        """
        import logging, sys
        logging.getLogger('mine').warning('to stderr')
        logging.getLogger('mine').info('nothing')
        """,
    ),
    "warnings-default": World(
        """
        import warnings
        warnings.warn('user')
        warnings.warn('old', DeprecationWarning)
        warnings.warn('future', FutureWarning)
        for _ in range(3):
            warnings.warn('once for a line')
        """,
    ),
    "warnings-error": World(
        """
        import warnings
        warnings.simplefilter('error')
        try:
            warnings.warn('x')
        except UserWarning as e:
            print('caught', e)
        """,
    ),
    "warnings-ignore": World(
        """
        import warnings
        warnings.filterwarnings('ignore')
        warnings.warn('unseen')
        print('quiet')
        """,
    ),
    "warnings-caught": World(
        """
        import warnings
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter('always')
            warnings.warn('a')
            warnings.warn('a')
        print(len(seen), seen[0].category.__name__)
        """,
    ),
    "warnings-captured": World(
        """
        import logging, sys
        import warnings
        logging.basicConfig(stream=sys.stdout, format='%(name)s')
        logging.captureWarnings(True)
        warnings.warn('x')
        """,
    ),
    "locale": World(
        """
        import locale
        print(locale.getlocale(locale.LC_NUMERIC), f'{1234.5:n}', locale.getpreferredencoding())
        print(locale.setlocale(locale.LC_ALL, 'C'), locale.localeconv()['decimal_point'])
        """,
    ),
    "text": World(
        """
        import sys
        print('äöü €', sys.stdout.encoding, sys.stdout.errors, sys.getfilesystemencoding())
        print('\\u2603', file=sys.stderr)
        """,
    ),
    "matplotlib": World(
        """
        import matplotlib
        print('agg' in matplotlib.get_backend().lower())
        matplotlib.use('svg')
        import matplotlib.pyplot as plt
        plt.plot([1, 2])
        plt.savefig('a.svg')
        import os
        print(matplotlib.get_backend(), os.path.getsize('a.svg') > 100)
        """,
    ),
    "pickled-class": World(
        """
        import pickle
        class Mine:
            def __init__(self, x): self.x = x
            def __eq__(self, o): return self.x == o.x
        data = pickle.dumps(Mine(3))
        print(b'__main__' in data, pickle.loads(data) == Mine(3), Mine.__module__, Mine.__qualname__)
        """,
    ),
    "dataclass": World(
        """
        from __future__ import annotations
        import dataclasses, typing
        @dataclasses.dataclass(frozen=True, slots=True)
        class Point:
            x: int
            y: list[int] = dataclasses.field(default_factory=list)
        print(Point(1), dataclasses.asdict(Point(2, [3])), typing.get_type_hints(Point))
        """,
    ),
    "enum": World(
        """
        import enum, pickle
        class Colour(enum.Enum):
            RED = 1
            BLUE = 'b'
        class Bits(enum.Flag):
            A = enum.auto()
            B = enum.auto()
        print(list(Colour), pickle.loads(pickle.dumps(Colour.RED)) is Colour.RED, Bits.A | Bits.B, repr(Colour))
        """,
    ),
    "named-tuples": World(
        """
        import collections, pickle, typing
        A = collections.namedtuple('A', 'x y')
        class B(typing.NamedTuple):
            z: int = 4
        print(pickle.loads(pickle.dumps(A(1, 2))), pickle.loads(pickle.dumps(B())), A.__module__)
        """,
    ),
    "abstract": World(
        """
        import abc
        class Base(abc.ABC):
            @abc.abstractmethod
            def f(self): ...
        class Own(Base):
            def f(self): return super().__class__
        print(Own().f())
        try:
            Base()
        except TypeError as e:
            print(e)
        """,
    ),
    "relative-import": World(
        "",
        args=("a b",),
        module="pack.tool",
        files=(
            ("pack/__init__.py", "WORD = 'word'"),
            ("pack/inner.py", "from . import WORD\n"),
            (
                "pack/tool.py",
                "import sys\nfrom . import inner\nprint(inner.WORD, __name__, __package__, sys.argv[1:])",
            ),
        ),
    ),
    "package-main": World(
        "",
        args=("-x",),
        module="pack",
        files=(
            ("pack/__init__.py", "WORD = 'word'"),
            ("pack/inner.py", "from . import WORD\n"),
            ("pack/__main__.py", "import sys\nprint(sys.argv[1:], __package__, __spec__.name)"),
        ),
    ),
    "import-package": World(
        """
        import pack.inner
        from pack import inner
        print(pack.WORD, inner.WORD, pack.__path__)
        """,
        files=(
            ("pack/__init__.py", "WORD = 'word'"),
            ("pack/inner.py", "from . import WORD\n"),
        ),
    ),
    "relative-import-refused": World(
        "from . import x",
    ),
    "arguments": World(
        """
        import sys
        print(sys.argv)
        """,
        args=("a b", "", "-n", "7", "--workers=3", "--", "-m", "é", "it's", '"', "$HOME", "*", "two\nlines"),
    ),
    "argparse": World(
        """
        import argparse
        p = argparse.ArgumentParser(description='d')
        p.add_argument('-n', type=int, default=1)
        p.add_argument('files', nargs='*')
        print(p.parse_args())
        print(p.format_usage())
        """,
        args=("-n", "3", "in put.txt"),
    ),
    "argparse-error": World(
        """
        import argparse
        argparse.ArgumentParser().parse_args()
        """,
        args=("--nothing",),
    ),
    "argparse-help": World(
        """
        import argparse
        argparse.ArgumentParser(description='what it does').parse_args()
        """,
        args=("--help",),
    ),
    "exit-handlers": World(
        """
        import atexit
        atexit.register(print, 'last')
        atexit.register(print, 'first')
        print('main')
        """,
    ),
    "exit-text": World(
        """
        import sys
        print('out')
        sys.exit('a text for stderr')
        """,
    ),
    "exception": World(
        """
        def f(x):
            return 1 / x

        f(0)
        """,
    ),
    "exception-chain": World(
        """
        try:
            {}['a']
        except KeyError as e:
            raise ValueError('mine') from e
        """,
    ),
    "exception-group": World(
        """
        raise ExceptionGroup('several', [ValueError(1), TypeError(2)])
        """,
    ),
    "excepthook": World(
        """
        import sys
        sys.excepthook = lambda kind, value, trace: print('hook', kind.__name__, value)
        raise KeyError('x')
        """,
    ),
    "syntax-error": World(
        """
        x = (1,
        print(2
        """,
    ),
    "thread-exception": World(
        """
        import threading
        threading.excepthook = lambda a: print('in a thread', a.exc_type.__name__)
        t = threading.Thread(target=lambda: 1 / 0)
        t.start()
        t.join()
        print(threading.current_thread().name, threading.main_thread() is threading.current_thread())
        """,
    ),
    "random": World(
        """
        import random, numpy as np
        random.seed(3)
        np.random.seed(3)
        print(random.random(), np.random.rand(), np.random.default_rng(3).random())
        """,
    ),
    "numpy-options": World(
        """
        import numpy as np
        print(np.get_printoptions()['precision'], np.geterr())
        np.set_printoptions(precision=2)
        print(np.array([1 / 3]))
        with np.errstate(divide='raise'):
            try:
                np.ones(1) / 0
            except FloatingPointError as e:
                print(e)
        """,
    ),
    "pandas-options": World(
        """
        import pandas as pd
        print(pd.get_option('display.max_rows'), pd.get_option('mode.copy_on_write'))
        print(pd.DataFrame({'a': ['x', None], 'b': [1.5, 2]}).dtypes)
        """,
    ),
    "decimal": World(
        """
        import decimal
        print(decimal.getcontext())
        decimal.getcontext().prec = 5
        print(decimal.Decimal(1) / 3)
        """,
    ),
    "signals": World(
        """
        import signal, time
        print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
        print(signal.getsignal(signal.SIGUSR1), signal.getsignal(signal.SIGPIPE))
        signal.signal(signal.SIGUSR1, lambda n, f: print('got', n))
        signal.raise_signal(signal.SIGUSR1)
        rang = []
        signal.signal(signal.SIGALRM, lambda n, f: rang.append('alarm'))
        signal.setitimer(signal.ITIMER_REAL, 0.01)
        while not rang:
            time.sleep(0.01)
        print(*rang)
        """,
    ),
    "subprocess": World(
        """
        import subprocess, sys
        print(subprocess.run(['sh', '-c', 'echo $0 $#; exit 3', 'a', 'b'], capture_output=True, text=True))
        code = 'import sys; print(sys.argv, sys.flags.safe_path)'
        print(subprocess.check_output([sys.executable, '-c', code], text=True))
        """,
    ),
    "asyncio": World(
        """
        import asyncio
        async def f(x):
            await asyncio.sleep(0)
            return x
        async def main():
            return await asyncio.gather(*map(f, range(3)))
        print(asyncio.run(main()), type(asyncio.new_event_loop()).__name__)
        """,
    ),
    "threads": World(
        """
        from concurrent.futures import ThreadPoolExecutor
        import threading, contextvars
        v = contextvars.ContextVar('v', default=1)
        v.set(2)
        with ThreadPoolExecutor(2) as pool:
            print(list(pool.map(abs, [-1, 2])), v.get(), contextvars.copy_context()[v], threading.local().__dict__)
        """,
    ),
    "standard-input": World(
        """
        import sys
        print(repr(sys.stdin.read()), sys.stdin.isatty())
        """,
    ),
    "redirected": World(
        """
        import contextlib, io, sys
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            print('inside')
        print(repr(out.getvalue()), sys.stdout is sys.__stdout__)
        """,
    ),
    "unbuffered-order": World(
        """
        import os, sys
        print('one', flush=True)
        os.write(1, b'two\\n')
        sys.stderr.write('err\\n')
        print('three')
        """,
    ),
    "main-module": World(
        """
        import __main__, sys
        x = 3
        print(__main__.x, sys.modules['__main__'] is __main__, __name__, __spec__, __doc__)
        print(__builtins__.__name__, __file__)
        """,
    ),
    "docstring": World(
        """
        '''What it does.'''
        print(__doc__)
        def f():
            '''Of f.'''
        print(f.__doc__, f.__module__)
        """,
    ),
    "inspect": World(
        """
        import inspect
        def f(a, *, b=2):
            return a  # a comment
        print(inspect.getsource(f), inspect.signature(f), inspect.getfile(f), inspect.stack()[0].function)
        """,
    ),
    "doctest": World(
        """
        def f(x):
            '''Twice.

            >>> f(2)
            4
            '''
            return 2 * x
        import doctest
        print(doctest.testmod())
        """,
    ),
    "unittest": World(
        """
        import contextlib, io, unittest
        class T(unittest.TestCase):
            def test_a(self):
                self.assertEqual(1, 1)
        with contextlib.redirect_stderr(io.StringIO()):  # which has the seconds that it took
            r = unittest.main(exit=False, verbosity=0).result
        print(r.testsRun, r.wasSuccessful())
        """,
    ),
    "type-hints": World(
        """
        from __future__ import annotations
        import typing
        class A:
            x: B
        class B: ...
        print(typing.get_type_hints(A), A.__annotations__, __annotations__)
        """,
    ),
    "limits": World(
        """
        import sys, gc, socket, threading
        print(sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold(), socket.getdefaulttimeout())
        print(threading.stack_size(), sys.getswitchinterval())
        """,
    ),
    "recursion": World(
        """
        def f(n):
            return f(n + 1)
        try:
            f(0)
        except RecursionError as e:
            print(type(e).__name__)
        """,
    ),
    "import-hook": World(
        """
        import importlib, importlib.util, sys
        spec = importlib.util.spec_from_file_location('loaded', 'other.py')
        m = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(m)
        print(m.V, importlib.util.find_spec('nothing_of_this_name'))
        """,
        files=(("other.py", "V = 5"),),
    ),
    "hostile-name": World(
        """
        import sys, os
        print(sys.argv, os.path.basename(__file__))
        """,
        args=("x",),
        name="it's a program; echo no.py",
    ),
    "tempfile": World(
        """
        import tempfile, os
        with tempfile.TemporaryDirectory() as d:
            print(os.path.isdir(d))
        print(os.path.exists(d))
        """,
    ),
    "shelve": World(
        """
        import shelve
        with shelve.open('db') as db:
            db['a'] = [1, {'b': 2}]
        with shelve.open('db') as db:
            print(dict(db))
        """,
    ),
    "os-exit": World(
        """
        import os, sys
        print('out', flush=True)
        os._exit(6)
        """,
    ),
}


def lay_out(folder: Path) -> None:
    """Write every program, with its files, into a folder of its own."""
    for name, world in WORLDS.items():
        for file, text in ((world.name, world.text), *world.files):
            path = folder / name / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(textwrap.dedent(text).lstrip("\n"))


def _child(name: str, world: World, folder: Path) -> None:
    from daskhpc.cluster.user_program import put_first, run_as_main

    os.chdir(folder / name)
    for descriptor, file in ((0, os.devnull), (1, f"../{name}.out"), (2, f"../{name}.err")):
        opened = os.open(file, os.O_RDONLY if descriptor == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(opened, descriptor)
    atexit._clear()  # the cluster's own end is the parent's
    code = 0
    try:
        put_first(world.module or world.name, bool(world.module))
        run_as_main(world.module or world.name, world.args, bool(world.module))
    except SystemExit as error:
        code = error.code if isinstance(error.code, int) else 1
        if isinstance(error.code, str):
            print(error.code, file=sys.stderr)
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main() -> None:
    """Run them all in children of the client."""
    folder = Path(sys.argv[1]).absolute()
    import daskhpc

    daskhpc.start()
    codes = {}
    for name, world in WORLDS.items():
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid == 0:
            try:
                _child(name, world, folder)
            finally:
                os._exit(99)
        codes[name] = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    (folder / "codes.json").write_text(json.dumps(codes))
    print("all")


if __name__ == "__main__":
    main()
