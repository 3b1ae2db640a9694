"""The result of a scaling study: its table, its text, its files."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from ..atomic import replacing
from ..text import counted
from .advice import advice, remarks
from .kept_times import KeptTimes
from .laws import AmdahlFit, Point, ScalingRow, Timing, fit_amdahl, rows
from .measuring import StudyWorker
from .plan import PLAIN, Turn

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_HEAD = ("workers", "threads", "seconds", "lowest", "highest", "speed-up", "efficiency", "e", "core-s", "busy")


@dataclass(frozen=True, slots=True, repr=False)
class ScalingStudy:
    """What `scaling` measured.

    Attributes
    ----------
    points : tuple of Point
        All times, by number of workers; not those of plain Python.
    plain : tuple of float
        Seconds of plain Python, one for each repeat; empty if there is no such base.
    weak : bool
    nodes : int
    machine : mapping of str to str
    equal_results : bool
        Whether the function returned the same each time; numbers up to a relative difference of 1e-9.
    """

    points: tuple[Point, ...]
    plain: tuple[float, ...]
    weak: bool
    nodes: int
    machine: Mapping[str, str]
    equal_results: bool

    @classmethod
    def of(
        cls,
        kept: KeptTimes,
        numbers: Sequence[int],
        repeats: int,
        weak: bool,
        workers: Sequence[StudyWorker],
        machine: Mapping[str, str],
    ) -> ScalingStudy:
        """Put the times together."""

        def timings(count: int) -> tuple[Timing, ...]:
            every = (kept.times.get(Turn(count, repeat)) for repeat in range(repeats))
            return tuple(timing for timing in every if timing is not None)

        counts = [n for n in numbers if n != PLAIN]
        points = [Point(n, sum(worker.threads for worker in workers[:n]), timings(n)) for n in counts]
        plain = tuple(timing.seconds for timing in timings(PLAIN)) if PLAIN in numbers else ()
        nodes = len({worker.host for worker in workers})
        return cls(tuple(points), plain, weak, nodes, machine, weak or kept.equal_results())

    @classmethod
    def of_seconds(cls, seconds: Mapping[int, Sequence[float]], weak: bool = False) -> ScalingStudy:
        """Put times together that were measured elsewhere, as those of an MPI program.

        Parameters
        ----------
        seconds : mapping of int to sequence of float
            For each number of workers the times of all repeats.
        weak : bool
            Whether the work grew with the workers.

        Returns
        -------
        ScalingStudy

        Examples
        --------
        >>> study = ScalingStudy.of_seconds({1: [400], 4: [102], 8: [60], 16: [31]})
        >>> print(study.advice)
        Use 16 workers: their efficiency is 0.81. More were not measured.
        """
        points = [Point(n, n, tuple(map(Timing, every))) for n, every in sorted(seconds.items())]
        return cls(tuple(points), (), weak, 1, {}, True)

    @property
    def rows(self) -> list[ScalingRow]:
        """The table's lines."""
        return rows(self.points, self.weak)

    @property
    def fit(self) -> AmdahlFit | None:
        """Amdahl's law, fitted; None in weak scaling and for a single point."""
        return None if self.weak else fit_amdahl(self.points)

    @property
    def table(self) -> pd.DataFrame:
        """The table: a row for each number of workers, and one for plain Python if it was measured."""
        import pandas as pd

        table = pd.DataFrame(self.rows)
        if self.plain:
            seconds = median(self.plain)
            base = {"workers": 0, "threads": 1, "seconds": seconds, "core_seconds": seconds}
            base |= {"lowest": min(self.plain), "highest": max(self.plain)}
            table = pd.concat([pd.DataFrame([base]), table], ignore_index=True)
        return table

    @property
    def advice(self) -> str:
        """How many workers to use, in one sentence."""
        return advice(self.rows)

    @property
    def remarks(self) -> list[str]:
        """What to know before the table is believed."""
        plain = median(self.plain) if self.plain else None
        return remarks(self.points, self.rows, self.fit, plain, self.equal_results)

    def __str__(self) -> str:
        kind = (
            "weak scaling, the work grows with the workers" if self.weak else "strong scaling, the work stays the same"
        )
        repeats = max(len(point.timings) for point in self.points)
        lines = [
            f"daskhpc: {kind}; {counted(repeats, 'repeat')}, {counted(self.nodes, 'node')}",
            *(["  " + ", ".join(f"{name}: {value}" for name, value in self.machine.items())] if self.machine else []),
            "",
        ]
        cells = [_HEAD, *([_plain_cells(self.plain)] if self.plain else []), *map(_cells, self.rows)]
        widths = [max(len(row[column]) for row in cells) for column in range(len(_HEAD))]
        lines += ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in cells]
        return "\n".join([*lines, "", self.advice, *self.remarks])

    __repr__ = __str__

    def plot(self) -> tuple[Figure, Figure]:
        """Draw time over workers and efficiency over workers.

        Returns
        -------
        tuple of matplotlib.figure.Figure

        Raises
        ------
        DaskhpcError
            If matplotlib is not installed.
        """
        from .pictures import efficiency_picture, time_picture

        return time_picture(self.points, self.plain, self.weak), efficiency_picture(self.rows)

    def save(self, folder: str | os.PathLike[str]) -> list[Path]:
        """Write the table (CSV), all times (JSON), the text, and both pictures (PNG and SVG) if matplotlib is there.

        Parameters
        ----------
        folder : path
            Made if it is not there. Files of the same names are replaced.

        Returns
        -------
        list of pathlib.Path
            The files.
        """
        place = Path(folder)
        place.mkdir(parents=True, exist_ok=True)
        texts = {
            "scaling.csv": self.table.to_csv(index=False),
            "scaling.json": json.dumps(self._raw(), indent=1) + "\n",
            "scaling.txt": f"{self}\n",
        }
        for name, text in texts.items():
            with replacing(place / name) as draft:
                draft.write_text(text)
        files = [place / name for name in texts]
        try:
            pictures = dict(zip(("time", "efficiency"), self.plot(), strict=True))
        except ModuleNotFoundError:
            return files
        from ..plots import save

        return files + [
            save(figure, place / f"{name}{end}") for name, figure in pictures.items() for end in (".png", ".svg")
        ]

    def _raw(self) -> dict[str, Any]:
        fit = self.fit
        return {
            "date": time.strftime("%Y-%m-%d"),
            "machine": dict(self.machine),
            "nodes": self.nodes,
            "weak": self.weak,
            "points": [asdict(point) for point in self.points],
            "plain_seconds": list(self.plain),
            "amdahl": fit._asdict() if fit is not None else None,
            "advice": self.advice,
            "remarks": self.remarks,
        }


def _cells(row: ScalingRow) -> tuple[str, ...]:
    fraction = "" if row.serial_fraction is None else f"{row.serial_fraction:.4f}"
    return (
        str(row.workers),
        str(row.threads),
        *(f"{seconds:.3f}" for seconds in (row.seconds, row.lowest, row.highest)),
        f"{row.speedup:.2f}",
        f"{row.efficiency:.3f}",
        fraction,
        f"{row.core_seconds:.1f}",
        f"{row.busy:.0%}" if row.busy else "",
    )


def _plain_cells(plain: Sequence[float]) -> tuple[str, ...]:
    seconds = median(plain)
    return ("plain", "1", *(f"{s:.3f}" for s in (seconds, min(plain), max(plain))), "", "", "", f"{seconds:.1f}", "")
