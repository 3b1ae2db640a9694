"""``python -m daskhpc`` is the ``daskhpc`` command."""

import os
import sys

if __name__ == "__main__":
    if not sys.flags.safe_path:
        # As the command has it: a random.py in the working directory does not stand in for Python's own.
        sys.path[0] = os.path.dirname(sys.executable)
    from .cli import main

    main(prog_name="daskhpc")
