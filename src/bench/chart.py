"""The figures as one picture: a bar for each ratio, a line for its target; plain SVG, pure."""

from collections.abc import Sequence
from html import escape
from typing import Final

from bench.figures import Figure

_ROW, _TOP, _LABELS, _NUMBER, _WIDTH = 24, 44, 440, 42, 900
_GREEN, _RED, _GREY, _INK = "#2e7d4f", "#b3402e", "#8a94a0", "#1f2933"
_TITLE: Final = "Times the floor of the same run (dashed: 1.0; short lines: targets)"
_STYLE: Final = "font-family: system-ui, sans-serif; font-size: 13px"


def chart(figures: Sequence[Figure]) -> str:
    """Return an SVG of the figures that have a floor; 1.0 is the floor."""
    shown = [(figure, figure.ratio) for figure in figures if figure.ratio is not None]
    longest = max(max(ratio, figure.target or 0) for figure, ratio in shown)
    scale = (_WIDTH - _LABELS - 70) / longest
    height = _TOP + _ROW * len(shown) + 16
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" style="{_STYLE}">',
        f'<rect width="{_WIDTH}" height="{height}" fill="#ffffff"/>',
        f'<text x="12" y="24" fill="{_INK}">{_TITLE}</text>',
    ]
    for number, (figure, ratio) in enumerate(shown):
        lines += _bar(figure, ratio, y=_TOP + _ROW * number, scale=scale)
    floor = _LABELS + scale
    lines.append(
        f'<line x1="{floor:.1f}" x2="{floor:.1f}" y1="{_TOP - 8}" y2="{height - 10}" stroke="{_INK}"'
        ' stroke-dasharray="3 3"/>'
    )
    return "\n".join([*lines, "</svg>", ""])


def _bar(figure: Figure, ratio: float, *, y: int, scale: float) -> list[str]:
    colour = {None: _GREY, True: _GREEN, False: _RED}[figure.is_met]
    end, target = _LABELS + ratio * scale, _LABELS + (figure.target or 0) * scale
    beside = target if end - 2 < target < end + _NUMBER else end
    lines = [
        f'<text x="{_LABELS - 8}" y="{y + 14}" fill="{_INK}" text-anchor="end">{escape(figure.name)}</text>',
        f'<rect x="{_LABELS}" y="{y + 2}" width="{ratio * scale:.1f}" height="{_ROW - 8}" fill="{colour}"/>',
        f'<text x="{beside + 6:.1f}" y="{y + 14}" fill="{_INK}">{ratio:.2f}</text>',
    ]
    if figure.target is not None:
        span = f'x1="{target:.1f}" x2="{target:.1f}" y1="{y}" y2="{y + _ROW - 4}"'
        lines.append(f'<line {span} stroke="{_INK}" stroke-width="2"/>')
    return lines
