"""What this machine can do for the tests."""

from __future__ import annotations

import os
from typing import NoReturn

import pytest


def unavailable(reason: str) -> NoReturn:
    """Skip, or fail where DASKHPC_REQUIRE_SLURM=1 says that this machine must be able to."""
    if os.environ.get("DASKHPC_REQUIRE_SLURM") == "1":
        pytest.fail(reason)
    pytest.skip(reason)
