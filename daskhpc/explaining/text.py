"""An explanation as text for a terminal."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from typing import TYPE_CHECKING

from .model import Part, Work, bytes_text, counted

if TYPE_CHECKING:
    from .explanation import Explanation

WIDTH = 100
_LABEL = 12
_MOST_PARTS = 5
_MOST_LAYERS = 5


def as_text(found: Explanation) -> str:
    """All of it, at most `WIDTH` columns wide."""
    return "\n".join(line for label, text in rows(found) for line in _lines(label, text))


def rows(found: Explanation) -> Iterator[tuple[str, str]]:
    """Pairs of a label and a text; a text without a label goes on, a label without a text is a heading."""
    for part in found.parts[:_MOST_PARTS]:
        yield title(part), ""
        yield from part_rows(part)
    if len(found.parts) > _MOST_PARTS:
        yield f"and {len(found.parts) - _MOST_PARTS} others, {found.nbytes} together", ""
    yield "computing it takes", ""
    yield from work_rows(found.work)
    yield "on this cluster" if found.place.cluster else "on this machine (no cluster is started)", ""
    yield from _place_rows(found)
    if found.advice:
        yield "unwise", ""
        for number, each in enumerate(found.advice, 1):
            yield f"{number}", each.says
            yield "   instead", each.todo


def title(part: Part) -> str:
    """``Dask array, float64, 20,000 x 20,000``."""
    shape = " x ".join("?" if length is None else f"{length:,}" for length in part.shape)
    return ", ".join(text for text in (f"{part.kind} {part.name}".strip(), part.dtype, shape) if text)


def part_rows(part: Part) -> Iterator[tuple[str, str]]:
    """Its bytes and chunks."""
    yield "in all", str(part.nbytes)
    word = "partitions" if part.kind.startswith("Dask") and part.kind != "Dask array" else "chunks"
    shape = f" of {' x '.join(f'{length:,}' for length in part.piece_shape)}" if part.piece_shape else ""
    yield word, f"{part.pieces:,}{shape}, {part.piece} each"


def work_rows(work: Work) -> Iterator[tuple[str, str]]:
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


def _place_rows(found: Explanation) -> Iterator[tuple[str, str]]:
    place = found.place
    hosts, threads = counted(place.hosts, "host"), counted(place.threads, "thread")
    yield "workers", f"{place.workers:,} on {hosts}, {threads}, {bytes_text(place.memory)} each"
    yield "chunks", f"{found.pieces_per_thread:,.1f} for each thread"


def _lines(label: str, text: str) -> list[str]:
    if not text:
        return textwrap.wrap(label, WIDTH) or [label]
    first = f"  {label:<{_LABEL}}"
    return textwrap.wrap(text, WIDTH, initial_indent=first, subsequent_indent=" " * len(first), break_on_hyphens=False)
