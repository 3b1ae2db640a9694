"""The program that ``daskhpc scaling`` runs on the client: it gets the file, its own options, a function, arguments."""

from __future__ import annotations

import argparse
import difflib
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from ..errors import EXIT_FAILED, DaskhpcError, SettingsError
from .study import scaling


def main() -> None:
    """Measure, print the table and save it."""
    options = argparse.ArgumentParser()
    options.add_argument("file", type=Path)
    options.add_argument("--counts")
    options.add_argument("--repeats", type=int, required=True)
    for flag in ("--weak", "--no-plain", "--spread"):
        options.add_argument(flag, action="store_true")
    options.add_argument("--plain")
    options.add_argument("--folder", type=Path)
    options.add_argument("function")
    options.add_argument("args", nargs="*")
    given = options.parse_args()
    folder = given.folder or Path(f"scaling-{given.function}")
    try:
        module = load(given.file, given.args)
        study = scaling(
            function_of(module, given.function),
            numbers(given.counts),
            weak=given.weak,
            repeats=given.repeats,
            plain=function_of(module, given.plain) if given.plain else not given.no_plain,
            placement="spread" if given.spread else "compact",
            checkpoint=folder / "times",
            on_time=lambda text: print(text, file=sys.stderr, flush=True),
        )
    except DaskhpcError as error:
        print(f"daskhpc: {error}", file=sys.stderr)
        raise SystemExit(EXIT_FAILED) from None
    print(study)
    print(f"\nFiles in {folder}: " + ", ".join(path.name for path in study.save(folder)))


def load(path: Path, args: list[str]) -> Any:
    """Import a program by its path, under its own name, as ``import`` would with its folder on the path."""
    import cloudpickle

    sys.argv[:] = [str(path), *args]
    spec = importlib.util.spec_from_file_location(path.stem, path.resolve())
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = module
    spec.loader.exec_module(module)
    cloudpickle.register_pickle_by_value(module)  # workers need not find the file
    return module


def function_of(module: Any, name: str) -> Callable[..., Any]:
    """A function of the program.

    Raises
    ------
    SettingsError
        If there is none of this name.
    """
    found = getattr(module, name, None)
    if callable(found):
        return found  # type: ignore[no-any-return]
    own = [n for n, value in vars(module).items() if getattr(value, "__module__", "") == module.__name__]
    close = difflib.get_close_matches(name, own, n=1) or own or ["estimate"]
    raise SettingsError(
        f"{module.__name__}.py has no function {name}.",
        ", ".join(own) or "no functions",
        f"daskhpc scaling {module.__name__}.py:{close[0]}",
    )


def numbers(text: str | None) -> list[int] | None:
    """The numbers of a list such as ``1,2,4``.

    Raises
    ------
    SettingsError
        If it has anything else.

    Examples
    --------
    >>> numbers("1,2,4")
    [1, 2, 4]
    """
    if text is None:
        return None
    try:
        return [int(each) for each in text.split(",")]
    except ValueError:
        raise SettingsError("--counts takes numbers of workers.", text, "--counts 1,2,4") from None


if __name__ == "__main__":
    main()
