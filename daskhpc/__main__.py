"""``python -m daskhpc`` is the ``daskhpc`` command."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="daskhpc")
