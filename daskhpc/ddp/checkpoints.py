"""Checkpoint files of a training: written whole or not at all, read as data, the last and the best kept."""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..atomic import replacing
from ..errors import SettingsError, TrainingError
from ..journal.describe import describe
from ..own_files import ForeignFileError, open_own

FORMAT = 1
_NAME = re.compile(r"epoch-(\d{4,})(?:-step-(\d{8,}))?\.pt")  # not epoch-7.pt, which another program wrote
_PREFIX = "module."


def file_name(epoch: int, step: int | None = None) -> str:
    """The name of the checkpoint after so many epochs, and so many batches if the next one has begun.

    Examples
    --------
    >>> file_name(4), file_name(4, 117)
    ('epoch-0004.pt', 'epoch-0004-step-00000117.pt')
    """
    return f"epoch-{epoch:04d}.pt" if step is None else f"epoch-{epoch:04d}-step-{step:08d}.pt"


def files(folder: str | os.PathLike[str]) -> list[Path]:
    """The checkpoints in a folder, oldest first; none if there is no folder."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return []
    return [Path(folder) / name for name in sorted(filter(_NAME.fullmatch, names), key=made_after)]


def made_after(name: str) -> tuple[int, int]:
    """After how many epochs, and after how many batches if the next one had begun, else -1: the inverse of `file_name`.

    Examples
    --------
    >>> made_after("epoch-0004.pt"), made_after("epoch-0004-step-00000117.pt")
    ((4, -1), (4, 117))
    """
    match = _NAME.fullmatch(name)
    assert match is not None
    return int(match[1]), int(match[2] or -1)


def remove_drafts(folder: str | os.PathLike[str]) -> None:
    """Remove what a process that was killed while it saved has left."""
    for draft in Path(folder).glob(".*.tmp"):
        draft.unlink(missing_ok=True)


def save(folder: Path, name: str, content: Mapping[str, Any]) -> str:
    """Write a checkpoint; it is there when this returns, or is not there at all.

    Returns
    -------
    str
        Its digest: 32 hex digits of BLAKE2b.
    """
    import torch

    buffer = io.BytesIO()
    torch.save(dict(content), buffer)
    data = buffer.getbuffer()
    with replacing(folder / name, sync=True) as draft:
        draft.write_bytes(data)
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def read(path: Path, *, own: bool = False) -> dict[str, Any]:
    """The content of a checkpoint, as data: nothing in the file is executed.

    Parameters
    ----------
    path : Path
    own : bool
        Whether it has to be this user's, as one from which a training goes on by itself.

    Raises
    ------
    TrainingError
        If it is no checkpoint, or another user's.
    """
    import torch

    try:
        with open(open_own(path, closed=True) if own else path, "rb") as file:
            content = torch.load(file, map_location="cpu", weights_only=True)
    except ForeignFileError as error:
        found, todo = f"{path}: {error.strerror}", "a checkpoint folder of your own"
        raise TrainingError("A checkpoint is not trusted.", found, todo) from None
    except FileNotFoundError:
        raise SettingsError(
            "There is no such checkpoint.", str(path), "a file or folder that a training wrote"
        ) from None
    except Exception as error:
        raise TrainingError(
            "A checkpoint cannot be read as data (weights_only).",
            f"{path}: {error}",
            "another checkpoint of the folder",
        ) from error
    if not isinstance(content, dict):
        raise TrainingError("A file is no checkpoint.", f"{path}: {describe(content)}", "a file that a training wrote")
    return content


def prune(folder: Path, keep: int, best: str | None) -> None:
    """Remove all checkpoints but the last so many and the best."""
    for path in files(folder)[: -keep or None]:
        if path.name != best:
            path.unlink(missing_ok=True)


def check_states(states: Mapping[str, Any]) -> None:
    """See that states can be read back as data.

    Raises
    ------
    TrainingError
        That names the entry which cannot.
    """
    for name, state in states.items():
        error = _read_back(state)
        if error is not None:
            path, value = _offending(name, state)
            raise TrainingError(
                f"The state of {name!r} cannot be saved: it would not be read back as data (weights_only).",
                f"{path} is {describe(value)}",
                "tensors, numbers, texts, and lists and dicts of these; or leave the object out",
            ) from error


def _read_back(state: Any) -> Exception | None:
    import torch

    buffer = io.BytesIO()
    try:
        torch.save(state, buffer)
        buffer.seek(0)
        torch.load(buffer, map_location="cpu", weights_only=True)
    except Exception as error:
        return error
    return None


def _offending(path: str, value: Any) -> tuple[str, Any]:
    """The innermost entry of a state that cannot be read back, and the path to it."""
    inner: list[tuple[Any, Any]] = []
    if isinstance(value, Mapping):
        inner = [(key, item) for key, item in value.items()]
    elif isinstance(value, list | tuple):
        inner = list(enumerate(value))
    for key, item in inner:
        if _read_back(item) is not None:
            return _offending(f"{path}[{key!r}]", item)
    return path, value


def load(path: str | os.PathLike[str], best: bool = False) -> dict[str, Any]:
    """The states in a checkpoint, on the CPU, read as data.

    Parameters
    ----------
    path : path
        A checkpoint, or the folder of a training: then its last one.
    best : bool
        Of a folder, the one with the best metric.

    Returns
    -------
    dict
        The state of each object by the name that it was saved under, such as ``load(folder)["model"]``, without the
        prefix ``module.`` of DistributedDataParallel. Of a file that another program wrote, what is in it.

    Raises
    ------
    SettingsError
        If there is no such checkpoint.
    TrainingError
        If the file cannot be read as data.

    Examples
    --------
    >>> import tempfile, torch, daskhpc
    >>> folder = tempfile.mkdtemp()
    >>> model = torch.nn.Linear(2, 1)
    >>> torch.save({"module.weight": model.weight}, f"{folder}/foreign.pt")
    >>> list(daskhpc.ddp.load(f"{folder}/foreign.pt"))
    ['weight']
    """
    place = Path(path)
    if place.is_dir():
        found = files(place)
        if not found:
            raise SettingsError("There is no checkpoint in the folder.", str(place), "the folder of a training")
        place = found[-1]
        if best:
            known = (read(place).get("best") or {}).get("file")
            if known is None:
                raise SettingsError("No checkpoint has a metric.", str(path), "run.metric = ... in the training")
            place = place.with_name(known)
    content = read(place)
    states = content["state"] if content.get("format") == FORMAT and "state" in content else content
    return {name.removeprefix(_PREFIX): _without_prefix(state) for name, state in states.items()}


def _without_prefix(state: Any) -> Any:
    if isinstance(state, dict) and state and all(isinstance(k, str) and k.startswith(_PREFIX) for k in state):
        return {name.removeprefix(_PREFIX): value for name, value in state.items()}
    return state
