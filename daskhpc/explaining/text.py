"""An explanation as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable, Iterator

from ..chunk_size import Resources
from ..text import bytes_text, counted
from .model import Advice, Collection, Work, total

Row = tuple[str, str]
"""A label and a text; a text without a label goes on, a label without a text is a heading."""

WIDTH = 100
_LABEL = 12
_MOST_PARTS = 5
_MOST_LAYERS = 5


def as_text(rows: Iterable[Row]) -> str:
    """All of it, at most `WIDTH` columns wide."""
    return "\n".join(line for label, text in rows for line in _lines(label, text))


def rows(parts: tuple[Collection, ...], work: Work, resources: Resources, advice: tuple[Advice, ...]) -> list[Row]:
    """The text of an explanation, row by row."""
    said: list[Row] = []
    for part in parts[:_MOST_PARTS]:
        said += [(title(part), ""), *part_rows(part)]
    if len(parts) > _MOST_PARTS:
        together = total([part.nbytes for part in parts])
        said.append((f"and {len(parts) - _MOST_PARTS} others, {together} together", ""))
    said += [("computing it takes", ""), *work_rows(work)]
    said.append(("on this cluster" if resources.cluster else "on this machine (no cluster is started)", ""))
    said += resource_rows(resources, sum(part.pieces for part in parts))
    if advice:
        said.append(("unwise", ""))
    for number, each in enumerate(advice, 1):
        said += [(f"{number}", each.says), ("   instead", each.todo)]
    return said


def title(part: Collection) -> str:
    """``Dask array, float64, 20,000 x 20,000``."""
    shape = " x ".join("?" if length is None else f"{length:,}" for length in part.shape)
    return ", ".join(text for text in (f"{part.kind} {part.name}".strip(), part.dtype, shape) if text)


def part_rows(part: Collection) -> Iterator[Row]:
    """Its bytes and chunks."""
    yield "in all", str(part.nbytes)
    word = "partitions" if part.kind.startswith("Dask") and part.kind != "Dask array" else "chunks"
    shape = f" of {' x '.join(f'{length:,}' for length in part.piece_shape)}" if part.piece_shape else ""
    yield word, f"{part.pieces:,}{shape}, {part.piece} each"


def work_rows(work: Work) -> Iterator[Row]:
    """What computing takes."""
    layers = ", ".join(f"{layer.name} {layer.tasks:,}" for layer in work.layers[:_MOST_LAYERS])
    more = len(work.layers) - _MOST_LAYERS
    others = f", {more} others" if more > 0 else ""
    yield "tasks", f"{work.tasks:,}{'' if work.exact else ', about'}: {layers}{others}"
    if work.before:
        yield "before", f"{work.before:,} tasks, to learn the divisions"
    if work.in_memory:
        yield "in memory", f"{work.in_memory:,} results on the workers, which are not computed again"
    yield "reads", _reads(work)
    if work.largest is not None:
        yield "largest", f"{work.largest.largest}, a piece of {work.largest.name}"
    yield "peak", f"{work.peak_memory} in a worker process"
    yield "result", f"{work.result} to this process"


def _reads(work: Work) -> str:
    files = "nothing" if work.reads.value == 0 else str(work.reads)
    return f"{files}; {bytes_text(work.embedded)} are in the tasks" if work.embedded else files


def resource_rows(resources: Resources, pieces: int) -> Iterator[Row]:
    """What there is to compute with."""
    hosts, threads = counted(resources.hosts, "host"), counted(resources.threads, "thread")
    yield "workers", f"{resources.workers:,} on {hosts}, {threads}, {bytes_text(resources.memory)} each"
    yield "chunks", f"{pieces / max(1, resources.threads):,.1f} for each thread"


def _lines(label: str, text: str) -> list[str]:
    if not text:
        return textwrap.wrap(label, WIDTH) or [label]
    first = f"  {label:<{_LABEL}}"
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
