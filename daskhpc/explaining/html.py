"""An explanation as HTML for a notebook."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from html import escape

from .model import Collection
from .text import Row

_MOST_PICTURES = 3
_LEFT = "text-align: left; vertical-align: top"


def as_html(rows: Iterable[Row], parts: tuple[Collection, ...]) -> str:
    """A table, beside it the pictures of the chunks."""
    pictures = "".join(pictures_of(parts[:_MOST_PICTURES]))
    cells = "".join(_row(label.strip(), text) for label, text in rows)
    side = f'<td style="{_LEFT}">{pictures}</td>' if pictures else ""
    return f'<table><tr><td style="{_LEFT}"><table>{cells}</table></td>{side}</tr></table>'


def pictures_of(parts: tuple[Collection, ...]) -> Iterator[str]:
    """Dask's own drawings of the chunks of the arrays that have one."""
    for part in parts:
        if part.piece_shape and hasattr(part.expression, "to_svg"):
            try:
                picture = part.expression.to_svg(size=160)
            except NotImplementedError:
                continue
            yield f"<div>{escape(part.name)}{picture}</div>"


def _row(label: str, text: str) -> str:
    if not text:
        return f'<tr><th colspan="2" style="{_LEFT}">{escape(label)}</th></tr>'
    body = f"<code>{escape(text)}</code>" if label == "instead" else escape(text)
    return f'<tr><td style="{_LEFT}">{escape(label)}</td><td style="{_LEFT}">{body}</td></tr>'
