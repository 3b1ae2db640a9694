"""An executable that writes down how it was called."""

from __future__ import annotations

import os
from pathlib import Path

# Everything that a shell, a file system or a terminal may take for something else.
HOSTILE = (
    "a b",
    "",
    "it's",
    'a "quote"',
    "; echo no",
    "$(false) `false` $HOME ${X}",
    "two\nlines",
    "-n",
    "--",
    "*",
    "~",
    "A=b",
    "\\",
    "#",
    "é",
    "!!",
    "a\tb ",
)


class Recorder:
    """An executable that records its arguments and its environment, in a folder with a hostile name.

    Parameters
    ----------
    folder : Path
        Where it is made.
    name : str
        Its name.
    last : str
        What it does in the end, in sh.
    """

    def __init__(self, folder: Path, name: str = "recorder", last: str = "exit 0") -> None:
        self.folder = folder / 'it\'s; echo "no" $(false)'
        self.folder.mkdir(parents=True, exist_ok=True)
        self.record = folder / f"{name}.record"
        self.path = self.folder / name
        self.path.write_text(
            f"#!/bin/sh\nprintf '%s\\0' \"$@\" >'{self.record}'\n/usr/bin/env -0 >'{self.record}.env'\n{last}\n"
        )
        self.path.chmod(0o755)

    @property
    def argv(self) -> list[str]:
        """The arguments that it was called with."""
        return self.record.read_text().split("\0")[:-1]

    @property
    def env(self) -> dict[str, str]:
        """The environment that it was called with."""
        pairs = Path(f"{self.record}.env").read_bytes().split(b"\0")[:-1]
        return dict(os.fsdecode(pair).split("=", 1) for pair in pairs)
