"""The program's own modules as the program has them: a child never runs another version of their code.

Why it is so: a child imports a module from its file when a call first needs it. Somebody may have edited the file since
the program imported it. Or a notebook has imported the edited file (``importlib.reload``, ``%autoreload``), and the
child has not. The results would be those of other code, and a checkpoint would keep them under the key of the code that
the program has. So calls bring the sources along.
"""

from __future__ import annotations

import importlib.util
import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, SourceFileLoader
from types import ModuleType
from typing import Any

from ..journal.origins import lies_with_libraries

_MOST_BYTES = 8 << 20
"""Of the sources of all modules; if there is more, children import the files."""


@dataclass(frozen=True, slots=True)
class ModuleSource:
    """A module as the program imported it."""

    file: str
    package: bool
    text: bytes


class ProgramModules:
    """The program's own modules that this process has imported.

    Notes
    -----
    A source is read when it is first asked for, and again when the module was imported anew, which gives it another
    ``__spec__``. Libraries are left out, as is what has no file of source.
    """

    def __init__(self) -> None:
        self._others: set[str] = {"__main__", "__mp_main__"}
        self._own: dict[str, tuple[Any, ModuleSource]] = {}

    def sources(self) -> dict[str, ModuleSource]:
        """By name."""
        others, found = self._others, {}
        for name in [name for name in list(sys.modules) if name not in others]:  # most are, and each Parallel asks
            source = self._source(name, getattr(sys.modules.get(name), "__spec__", None))
            if source is not None:
                found[name] = source
        return found

    def to_send(self) -> dict[str, ModuleSource]:
        """By name; none if they are too large together."""
        found = self.sources()
        return found if sum(len(source.text) for source in found.values()) <= _MOST_BYTES else {}

    def _source(self, name: str, spec: Any) -> ModuleSource | None:
        known = self._own.get(name)
        if known is not None and known[0] is spec:
            return known[1]
        source = read(name, spec)
        if source is None:
            self._others.add(name)
        else:
            self._own[name] = (spec, source)
        return source


def read(name: str, spec: Any) -> ModuleSource | None:
    """The source of a module of the program; None if it is none, or has no file of source."""
    loader = getattr(spec, "loader", None)
    if name.partition(".")[0] == "daskhpc" or not isinstance(loader, SourceFileLoader):
        return None
    if lies_with_libraries(loader.path):
        return None
    text, package = _content(loader.path), spec.submodule_search_locations is not None
    return None if text is None else ModuleSource(os.path.abspath(loader.path), package, text)


class AsTheProgram:
    """In a child: imports the program's modules as the program has them, from its sources if the files differ."""

    def __init__(self) -> None:
        self.sources: dict[str, ModuleSource] = {}

    def use(self, sources: Mapping[str, ModuleSource]) -> None:
        """From now on have these; of another version all is forgotten, since any module may have taken parts of it."""
        if self not in sys.meta_path:
            sys.meta_path.insert(0, self)
        if any(name in sys.modules and self._version(name) != source for name, source in sources.items()):
            for name in ProgramModules().sources():
                del sys.modules[name]
        self.sources = {**{name: each for name, each in self.sources.items() if name in sys.modules}, **sources}

    def _version(self, name: str) -> ModuleSource | None:
        """What this process has imported; for what it has imported before it was told, the file."""
        return self.sources.get(name) or read(name, getattr(sys.modules[name], "__spec__", None))

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """None if the file is as the program imported it, which Python has compiled, or cannot be read here."""
        source = self.sources.get(name)
        if source is None or _content(source.file) in (None, source.text):
            return None
        folders = [os.path.dirname(source.file)] if source.package else None
        loader = _SourceLoader(name, source)
        return importlib.util.spec_from_file_location(
            name, source.file, loader=loader, submodule_search_locations=folders
        )


class _SourceLoader(SourceFileLoader):
    """Has the source, and no compiled file."""

    def __init__(self, name: str, source: ModuleSource) -> None:
        super().__init__(name, source.file)
        self._text = source.text

    def path_stats(self, path: str) -> Any:
        raise OSError(f"{path} was edited")

    def get_data(self, path: str) -> bytes:
        return self._text


def _content(file: str) -> bytes | None:
    try:
        with open(file, "rb") as opened:
            return opened.read()
    except OSError:
        return None


program_modules = ProgramModules()
as_the_program = AsTheProgram()
