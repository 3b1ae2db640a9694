"""An array once in each node's memory, for all ranks of the node."""

from __future__ import annotations

import os
import pickle
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import numpy as np

from ..parallel.memory_segment import MemorySegment, layout_of
from .places import RankPlace


def shared_on_node(place: RankPlace, array: Any | Callable[[], Any], number: int, seconds: float) -> tuple[Any, Any]:
    """Put an array into the node's memory, or find it there.

    Parameters
    ----------
    place : RankPlace
    array : numpy.ndarray, or a function that returns one
    number : int
        How many arrays were shared before: the ranks find each by its number.
    seconds : float
        How long the others wait for it.

    Returns
    -------
    numpy.ndarray
        Mapped copy-on-write.
    MemorySegment or None
        What has to stay open for the others.
    """
    if place.local_rank == 0:
        value = np.ascontiguousarray(array() if callable(array) else array)
        if place.local_world_size == 1:
            return value, None
        if value.dtype.hasobject:
            raise TypeError(f"an array of dtype {value.dtype} holds Python objects, which cannot be shared")
        segment = MemorySegment.create(layout_of([value.nbytes]))
        segment.write(0, value.reshape(-1).view(np.uint8))
        segment.finish()
        about = (os.getpid(), segment.descriptor, segment.layout, value.dtype, value.shape)
        _store(seconds).set(_key(place, number), pickle.dumps(about))
    else:
        pid, descriptor, layout, dtype, shape = pickle.loads(_store(seconds).get(_key(place, number)))
        found = MemorySegment.attach(pid, descriptor, layout)
        if found is None:
            raise OSError(f"process {pid} of this node does not let rank {place.rank} open its memory")
        segment, value = found, None
    about_dtype, about_shape = (value.dtype, value.shape) if value is not None else (dtype, shape)
    (frame,) = segment.frames("c")
    view = np.frombuffer(frame, about_dtype).reshape(about_shape)
    if value is None:
        segment.close()  # what is mapped stays
        return view, None
    return view, segment


def _key(place: RankPlace, number: int) -> str:
    return f"daskhpc-shared-{place.node_rank}-{number}"


def _store(seconds: float) -> Any:
    """A client of the store in which the ranks met."""
    import torch.distributed as dist

    host, port = os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"])
    return dist.TCPStore(host, port, None, False, timeout=timedelta(seconds=seconds))
