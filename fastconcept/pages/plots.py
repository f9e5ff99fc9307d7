"""Plots as inline SVG: grouped bars and lines, legible on light and dark pages, without any plotting library."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence

COLOURS = ("#5662d6", "#e0763a", "#2a9d7f", "#b8478c", "#7a8194", "#c9a227")
_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 720, 300, 52, 16, 38, 56


def _text(x: float, y: float, text: str, anchor: str = "middle", extra: str = "") -> str:
    shown = html.escape(text)
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" class="t" {extra}>{shown}</text>'


def _ticks(high: float) -> list[float]:
    """Four to seven round numbers from 0 to at least ``high``.

    Examples
    --------
    >>> [round(tick, 2) for tick in _ticks(0.93)], len(_ticks(0.0))
    ([0.0, 0.2, 0.4, 0.6, 0.8, 1.0], 2)
    """
    if high <= 0:
        return [0.0, 1.0]
    raw = high / 5
    size = 10 ** math.floor(math.log10(raw))
    step = next(size * k for k in (1, 2, 2.5, 5, 10) if size * k >= raw - 1e-12)
    return [step * k for k in range(math.ceil(high / step - 1e-9) + 1)]


def _frame(title: str, ticks: Sequence[float], names: Sequence[str], bottom: float) -> list[str]:
    parts = [f'<svg viewBox="0 0 {_WIDTH} {bottom:.0f}" role="img" aria-label="{html.escape(title)}" class="plot">']
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    for tick in ticks:
        y = base - span * tick / ticks[-1]
        parts.append(f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}" class="grid"/>')
        parts.append(_text(_LEFT - 8, y + 4, f"{tick:.4g}", "end"))
    x = float(_LEFT)
    for k, name in enumerate(names if len(names) > 1 else ()):
        colour = COLOURS[k % len(COLOURS)]
        parts.append(f'<rect x="{x:.0f}" y="10" width="11" height="11" rx="2" fill="{colour}"/>')
        parts.append(_text(x + 16, 20, name, "start"))
        x += 34 + 7.2 * len(name)
    return parts


def bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> str:
    """Grouped vertical bars from zero.

    Parameters
    ----------
    title : str
        For readers who cannot see it.
    labels : sequence of k str
    series : mapping of name to k numbers
        Not negative; nan is left out.

    Returns
    -------
    str
        One ``<svg>`` element.

    Examples
    --------
    >>> bars("accuracy", ["a", "b"], {"ours": [0.5, 1.0]}).count("<rect")
    2
    """
    values = [value for row in series.values() for value in row if not math.isnan(value)]
    ticks = _ticks(max(values, default=0.0))
    tilted = max(map(len, labels), default=0) * 7.2 * len(labels) > _WIDTH - _LEFT - _RIGHT
    longest = max(map(len, labels), default=0)
    parts = _frame(title, ticks, list(series), _HEIGHT + (max(0.0, min(longest, 40) * 3.7 - 30) if tilted else 0))
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    step = (_WIDTH - _LEFT - _RIGHT) / max(len(labels), 1)
    width = min(40.0, 0.8 * step / max(len(series), 1))
    for k, (name, row) in enumerate(series.items()):
        for i, value in enumerate(row):
            if math.isnan(value):
                continue
            x = _LEFT + step * (i + 0.5) + width * (k - len(series) / 2)
            tall = span * value / ticks[-1]
            shown = html.escape(f"{labels[i]}, {name}: {value:.3f}")
            parts.append(
                f'<rect x="{x:.1f}" y="{base - tall:.1f}" width="{width - 1.5:.1f}" rx="2" '
                f'height="{max(tall, 0.5):.1f}" fill="{COLOURS[k % len(COLOURS)]}"><title>{shown}</title></rect>'
            )
    for i, label in enumerate(labels):
        x, y = _LEFT + step * (i + 0.5), base + 18.0
        turn = f'transform="rotate(-32 {x:.1f} {y:.1f})"' if tilted else ""
        parts.append(_text(x + (6 if tilted else 0), y, label[:40], "end" if tilted else "middle", turn))
    return "".join([*parts, "</svg>"])


def lines(title: str, x_name: str, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> str:
    """Lines with a mark at every point, over numbers.

    Parameters
    ----------
    title, x_name : str
    x : sequence of k numbers
    series : mapping of name to k numbers
        Not negative.

    Returns
    -------
    str
        One ``<svg>`` element.

    Examples
    --------
    >>> lines("accuracy", "words", [1, 2, 3], {"ours": [0.5, 0.7, 0.8]}).count("<circle")
    3
    """
    ticks = _ticks(max((value for row in series.values() for value in row if not math.isnan(value)), default=0.0))
    parts = _frame(title, ticks, list(series), _HEIGHT)
    base, span = _HEIGHT - _BOTTOM, _HEIGHT - _BOTTOM - _TOP
    low, high = min(x, default=0.0), max(x, default=1.0)
    wide = _WIDTH - _LEFT - _RIGHT - 24

    def place(value: float) -> float:
        return _LEFT + 12 + wide * ((value - low) / (high - low) if high > low else 0.5)

    for k, (name, row) in enumerate(series.items()):
        points = [
            (place(a), base - span * b / ticks[-1], a, b) for a, b in zip(x, row, strict=True) if not math.isnan(b)
        ]
        colour = COLOURS[k % len(COLOURS)]
        path = " ".join(f"{left:.1f},{top:.1f}" for left, top, _, _ in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5"/>')
        for left, top, a, b in points:
            shown = html.escape(f"{name}: {b:.3f} at {a:.4g}")
            mark = f'<circle cx="{left:.1f}" cy="{top:.1f}" r="4" fill="{colour}"><title>{shown}</title></circle>'
            parts.append(mark)
    shown_last = -1e9
    for value in sorted(set(x)):
        if place(value) - shown_last > 34:
            parts.append(_text(place(value), base + 18, f"{value:.4g}"))
            shown_last = place(value)
    parts.append(_text(_LEFT + wide / 2, base + 42, x_name))
    return "".join([*parts, "</svg>"])
