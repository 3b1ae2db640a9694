"""The job scripts of slurm/, with the folder and the Python of a test written into them."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path

FOLDERS, ENVIRONMENT = "/home/ada/daskhpc/slurm", "/home/ada/venv"


def placed(script: Path, *args: str) -> Path:
    """Write the folder of a job script and this Python into it, and arguments of its program; returns the script."""
    folder = script.parent
    text = re.sub(
        rf"{FOLDERS}/\w+/(\w+\.py)", lambda found: shlex.join([f"{folder}/{found[1]}", *args]), script.read_text()
    )
    text = re.sub(rf"{FOLDERS}/\w+", lambda _: shlex.quote(str(folder)), text)
    text = text.replace(f"{ENVIRONMENT}/bin/python", shlex.quote(sys.executable))
    script.write_text(text.replace(ENVIRONMENT, shlex.quote(sys.prefix)))
    return script


def by_hand(script: Path, line: str) -> None:
    """Write a line of srun in the place of ``daskhpc run``, for a program that starts its cluster itself."""
    lines = r"(?m)^.* -m daskhpc run -- .*\\\n.* \|\| CODE=\$\?$"
    text, count = re.subn(lines, lambda _: f"{line} || CODE=$?", script.read_text())
    assert count == 1
    script.write_text(text)
