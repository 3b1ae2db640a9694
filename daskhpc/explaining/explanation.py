"""All that is said of some lazy objects together."""

from __future__ import annotations

from dataclasses import dataclass

from ..chunk_size import Resources
from .html import as_html
from .model import Advice, Part, Size, Work, total
from .text import as_text


@dataclass(frozen=True, slots=True, repr=False)
class Explanation:
    """What `explain` found; printing it shows the text, a notebook shows a table and the picture of the chunks.

    Parameters
    ----------
    parts : tuple of Part
        The lazy objects.
    work : Work
        What computing them together takes.
    place : Resources
        On what.
    advice : tuple of Advice
        What is unwise.
    """

    parts: tuple[Part, ...]
    work: Work
    place: Resources
    advice: tuple[Advice, ...]

    @property
    def pieces_per_thread(self) -> float:
        """Chunks or partitions for each thread of the cluster."""
        return sum(part.pieces for part in self.parts) / max(1, self.place.threads)

    @property
    def nbytes(self) -> Size:
        """Of all parts."""
        return total([part.nbytes for part in self.parts])

    def __str__(self) -> str:
        return as_text(self)

    def __repr__(self) -> str:
        return str(self)

    def _repr_html_(self) -> str:
        return as_html(self)
