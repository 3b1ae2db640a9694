"""Boxes, lines and texts as SVG, in colours that follow the reader's light or dark mode."""

from __future__ import annotations

from html import escape

STYLE = """
  svg { --ink: #1f2933; --line: #7b8794; --paper: #ffffff; --a: #d6e6f5; --b: #d9efd9; --c: #fbe6c8; --d: #f6d4d4;
        font-family: system-ui, "DejaVu Sans", sans-serif; font-size: 15px }
  @media (prefers-color-scheme: dark) {
    svg { --ink: #e4e7eb; --line: #9aa5b1; --paper: #14181e; --a: #1d3b57; --b: #234a2b; --c: #5a4218; --d: #5c2626 }
  }
  text { fill: var(--ink) } .s { font-size: 13px } .b { font-weight: 600 }
  .m { text-anchor: middle } .e { text-anchor: end }
  rect, path, line, circle { stroke: var(--line); stroke-width: 1.3; fill: none }
  .paper { fill: var(--paper) } .a { fill: var(--a) } .bb { fill: var(--b) } .c { fill: var(--c) } .d { fill: var(--d) }
  .curve { stroke: var(--ink); stroke-width: 2.5 } .dash { stroke-dasharray: 5 4 }
  .head { fill: var(--line); stroke: none }
"""


class Picture:
    """A picture of a width and a height in units of a pixel."""

    def __init__(self, width: int, height: int, title: str) -> None:
        self.parts = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" role="img">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            '<defs><marker id="arrow" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" '
            'markerHeight="7" orient="auto">'
            '<path class="head" d="M0 0L8 4L0 8z"/></marker></defs>',
        ]

    def box(self, x: float, y: float, width: float, height: float, text: str = "", kind: str = "paper") -> None:
        """A box with lines of text in its middle; the first line is bold if there are more."""
        self.parts.append(f'<rect class="{kind}" x="{x}" y="{y}" width="{width}" height="{height}" rx="5"/>')
        lines = text.split("\n") if text else []
        for number, line in enumerate(lines):
            middle = y + height / 2 + 5 + 18 * (number - (len(lines) - 1) / 2)
            bold = " b" if number == 0 and len(lines) > 1 else ""
            self.text(x + width / 2, middle, line, f"m{bold}" + (" s" if number else ""))

    def text(self, x: float, y: float, text: str, kind: str = "") -> None:
        """A line of text that begins, ends (``e``) or has its middle (``m``) at x."""
        self.parts.append(f'<text class="{kind}" x="{x}" y="{y}">{escape(text)}</text>')

    def arrow(self, *points: tuple[float, float], text: str = "", kind: str = "") -> None:
        """An arrow through points, with a text above its middle."""
        path = "M" + "L".join(f"{x} {y}" for x, y in points)
        self.parts.append(f'<path class="{kind}" d="{path}" marker-end="url(#arrow)"/>')
        if text:
            (x1, y1), (x2, y2) = points[0], points[-1]
            self.text((x1 + x2) / 2, (y1 + y2) / 2 - 7, text, "m s")

    def curve(self, *points: tuple[float, float]) -> None:
        """A thick line through points."""
        path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
        self.parts.append(f'<path class="curve" d="{path}"/>')

    def line(self, x1: float, y1: float, x2: float, y2: float, kind: str = "") -> None:
        """A line without a head."""
        self.parts.append(f'<line class="{kind}" x1="{x1}" y1="{y1}" x2="{x2}" y2="{y2}"/>')

    def svg(self) -> str:
        """The text of the file."""
        return "\n".join([*self.parts, "</svg>", ""])
