"""The variables and files of one node as one process sees them, and what of them could not be used."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

_SIZE = re.compile(r"(\d{1,15})([KMGT]?)B?", re.IGNORECASE)
_UNITS = {"K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4}


@dataclass(frozen=True, slots=True)
class NodeView:
    """One process's view of its node: variables, files, and the warnings met while reading them.

    Attributes
    ----------
    env : Mapping[str, str]
        The environment of the process.
    root : Path
        The root of the file system; a test gives a directory that looks like one.
    warnings : list[str]
        What could not be used, appended by the readers.

    Notes
    -----
    Nothing is ever read outside ``env`` and ``root``. A file that is absent or unreadable reads as None.
    """

    env: Mapping[str, str]
    root: Path
    warnings: list[str] = field(default_factory=list)

    @classmethod
    def here(cls) -> NodeView:
        """The node that this process runs on."""
        return cls(os.environ, Path("/"))

    @property
    def real(self) -> bool:
        """Whether this is the machine itself rather than a tree that looks like one."""
        return self.root == Path("/")

    def warn(self, text: str) -> None:
        """Remember a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)

    def ignored(self, name: str, why: str) -> None:
        """Remember that a variable's value was not used."""
        self.warn(f"{name}={self.env.get(name, '')!r} ignored: {why}")

    def hostname(self) -> str | None:
        """The name that the kernel has for this node."""
        name = self.text("/proc/sys/kernel/hostname")
        return name or (os.uname().nodename if self.real else None)

    def path(self, absolute: str) -> Path:
        """Where the absolute path `absolute` lies under the root."""
        return self.root / absolute.lstrip("/")

    def text(self, absolute: str) -> str | None:
        """The text of a file, stripped; None if it cannot be read."""
        try:
            return self.path(absolute).read_text(encoding="utf-8", errors="replace").strip()
        except (OSError, ValueError):
            return None

    def lines(self, absolute: str) -> tuple[str, ...]:
        """The lines of a file; none if it cannot be read."""
        return tuple((self.text(absolute) or "").splitlines())

    def names(self, folder: str) -> tuple[str, ...]:
        """The sorted names in a folder; none if it cannot be listed."""
        try:
            return tuple(sorted(os.listdir(self.path(folder))))
        except (OSError, ValueError):
            return ()

    def variable(self, name: str) -> str | None:
        """The value of a variable, stripped; None if it is unset or empty."""
        return self.env.get(name, "").strip() or None

    def integer(self, name: str, least: int = 0) -> int | None:
        """The value of a variable that holds a whole number.

        Parameters
        ----------
        name : str
            The variable.
        least : int
            The smallest value that makes sense.

        Returns
        -------
        int | None
            None if the variable is unset or empty, or, with a warning, if it holds something else.
        """
        value = self.variable(name)
        if value is None:
            return None
        if not re.fullmatch(r"[0-9]{1,18}", value):
            self.ignored(name, "not a whole number")
            return None
        if int(value) < least:
            self.ignored(name, f"less than {least}")
            return None
        return int(value)

    def megabytes(self, name: str) -> int | None:
        """The bytes that a variable gives in MB, or with a unit (``4G``); None if it gives none."""
        value = self.variable(name)
        if value is None:
            return None
        match = _SIZE.fullmatch(value)
        if match is None:
            self.ignored(name, "not a size in MB")
            return None
        return int(match[1]) * _UNITS[match[2].upper() or "M"]


def short(host: str) -> str:
    """The name of a host without its domain; an address stays whole."""
    return host if re.fullmatch(r"[0-9.]+", host) else host.split(".", 1)[0]
