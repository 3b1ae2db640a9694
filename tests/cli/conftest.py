"""Fixtures of the command's tests."""

from __future__ import annotations

from pathlib import Path

import pytest
from place import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A machine without a scheduler, whose mpi4py finds MPICH and that has no launcher."""
    made = Place(tmp_path)
    made.mpi4py("MPICH")
    return made
