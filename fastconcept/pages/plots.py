"""Plots of reports: bars and lines, drawn by matplotlib as SVG that reads well on light and dark pages.

A plot is data until a page is written, so results without a page need no matplotlib.
"""

from __future__ import annotations

import html
import io
import math
import re
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ..errors import MissingDependencyError

COLOURS = ("#5662d6", "#e0763a", "#2a9d7f", "#b8478c", "#7a8194", "#c9a227")
_INK = "#010203"  # stands for the page's own text colour until the SVG is finished
_WIDTH = 7.6  # inches of 72 units
_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",  # text stays text, in the page's own font
    "svg.hashsalt": "fastconcept",
    "text.parse_math": False,
    "font.size": 9.5,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "xtick.labelcolor": _INK,
    "ytick.labelcolor": _INK,
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "axes.spines.bottom": False,
    "figure.facecolor": "none",
    "axes.facecolor": "none",
}


@dataclass(frozen=True)
class Plot:
    """A plot that is yet to be drawn.

    Attributes
    ----------
    title : str
        A description for readers who cannot see it.
    draw : callable
        Draws it on matplotlib's Axes.
    names : tuple of str
        The series; with one alone there is no legend.
    height : float
        Inches.
    """

    title: str
    draw: Callable[[Any], None] = field(repr=False)
    names: tuple[str, ...]
    height: float = 3.2

    def svg(self) -> str:
        """One ``<svg>`` element: the same bytes for the same data, nothing fetched, text in the page's colour.

        Raises
        ------
        MissingDependencyError
            If matplotlib is not installed.
        """
        try:
            import matplotlib  # type: ignore[import-not-found, unused-ignore]
            from matplotlib.figure import Figure  # type: ignore[import-not-found, unused-ignore]
        except ImportError:
            raise MissingDependencyError("matplotlib", "evaluate") from None
        stream = io.StringIO()
        with matplotlib.rc_context(_STYLE), warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # signs that its own font lacks; the page's font shows them
            figure = Figure(figsize=(_WIDTH, self.height), layout="constrained")
            axes = figure.add_subplot()
            axes.tick_params(length=0)
            axes.grid(axis="y", color="#80808040", clip_on=False)
            axes.set_axisbelow(True)
            self.draw(axes)
            if len(self.names) > 1:
                figure.legend(loc="outside upper left", ncols=min(len(self.names), 4), frameon=False)
            figure.savefig(stream, format="svg", metadata=dict.fromkeys(("Date", "Creator", "Format", "Type")))
        return _inline(stream.getvalue(), self.title)


def bars(title: str, labels: Sequence[str], series: Mapping[str, Sequence[float]]) -> Plot:
    """Grouped vertical bars from zero.

    Parameters
    ----------
    title : str
        A description for readers who cannot see it.
    labels : sequence of k str
    series : mapping of name to k numbers
        Not negative; nan leaves a gap.

    Returns
    -------
    Plot

    Examples
    --------
    >>> bars("accuracy", ["a", "b"], {"ours": [0.5, 1.0]}).names
    ('ours',)
    """
    longest = max(map(len, labels), default=0)
    tilted = longest * len(labels) > 90
    width = min(0.8 / max(len(series), 1), 0.08 * max(len(labels), 1))  # of the space for a label

    def draw(axes: Any) -> None:
        for k, (name, values) in enumerate(series.items()):
            shown = [(i, value) for i, value in enumerate(values) if not math.isnan(value)]
            places = [i + width * (k - (len(series) - 1) / 2) for i, _ in shown]
            colour = COLOURS[k % len(COLOURS)]
            drawn = axes.bar(places, [v for _, v in shown], 0.94 * width, color=colour, label=name, clip_on=False)
            for bar, (i, value) in zip(drawn, shown, strict=True):
                bar.set_gid(f"{labels[i]}, {name}: {value:.3f}")
        axes.set_xlim(-0.6, max(len(labels), 1) - 0.4)
        axes.set_xticks(range(len(labels)), [label[:40] for label in labels])
        if tilted:
            axes.tick_params("x", rotation=32)
            for label in axes.get_xticklabels():
                label.set(horizontalalignment="right", rotation_mode="anchor")
        _from_zero(axes, series)

    return Plot(title, draw, tuple(series), 3.2 + (min(longest, 40) * 0.04 if tilted else 0))


def lines(title: str, x_name: str, x: Sequence[float], series: Mapping[str, Sequence[float]]) -> Plot:
    """Lines with a mark at every point, over numbers.

    Parameters
    ----------
    title, x_name : str
        A description for readers who cannot see it, and what ``x`` is.
    x : sequence of k numbers
    series : mapping of name to k numbers
        Not negative; nan leaves a gap.

    Returns
    -------
    Plot

    Examples
    --------
    >>> lines("accuracy", "words", [1, 2, 3], {"ours": [0.5, 0.7, 0.8]}).title
    'accuracy'
    """

    def draw(axes: Any) -> None:
        for k, (name, values) in enumerate(series.items()):
            colour = COLOURS[k % len(COLOURS)]
            style = ("-", "--", ":")[k // len(COLOURS) % 3]  # colours come again
            axes.plot(x, values, style, color=colour, label=name, linewidth=2, clip_on=False)
            for a, b in zip(x, values, strict=True):
                if not math.isnan(b):
                    axes.plot(a, b, "o", color=colour, gid=f"{name}: {b:.3f} at {a:.4g}", clip_on=False)
        axes.set_xlabel(x_name)
        axes.xaxis.get_major_locator().set_params(integer=all(float(value).is_integer() for value in x))
        _from_zero(axes, series)

    return Plot(title, draw, tuple(series))


def curves(
    title: str,
    x_name: str,
    series: Mapping[str, tuple[Sequence[float], Sequence[float], Sequence[float]]],
    kinds: tuple[str, str],
    level: tuple[str, float],
) -> Plot:
    """Two lines of one colour for each series, each series over its own numbers, and a level to reach.

    Parameters
    ----------
    title, x_name : str
        A description for readers who cannot see it, and what the numbers are.
    series : mapping of name to (x, solid, dashed)
        Three sequences of equal length; values are not negative.
    kinds : (str, str)
        What the solid and the dashed lines are.
    level : (str, float)
        Name and height of the horizontal line.

    Returns
    -------
    Plot

    Examples
    --------
    >>> series = {"own": ([5, 10], [0.5, 0.6], [0.7, 0.8])}
    >>> curves("accuracy", "words", series, ("top-1", "cosine"), ("dense", 0.7)).names
    ('own, top-1', 'own, cosine', 'dense')
    """
    names = (*(f"{name}, {kind}" for name in series for kind in kinds), level[0])

    def draw(axes: Any) -> None:
        for k, (name, (x, *values)) in enumerate(series.items()):
            for kind, style, y in zip(kinds, ("-", "--"), values, strict=True):
                colour, order = COLOURS[k % len(COLOURS)], sorted(range(len(x)), key=lambda i: x[i])
                shown = [x[i] for i in order], [y[i] for i in order]
                axes.plot(*shown, style, color=colour, label=f"{name}, {kind}", linewidth=2, clip_on=False)
                for a, b in zip(*shown, strict=True):
                    axes.plot(a, b, "o", color=colour, gid=f"{name}, {kind}: {b:.3f} at {a:.4g}", clip_on=False)
        axes.axhline(level[1], color=COLOURS[4], linewidth=1.2, label=level[0], gid=f"{level[0]}: {level[1]:.3f}")
        axes.set_xlabel(x_name)
        _from_zero(axes, {"": [*(v for _, *both in series.values() for y in both for v in y), level[1]]})

    return Plot(title, draw, names, 4.0)


def _from_zero(axes: Any, series: Mapping[str, Sequence[float]]) -> None:
    axes.set_ylim(0, max((v for values in series.values() for v in values if v > 0), default=1.0))


def _inline(svg: str, title: str) -> str:
    """The ``<svg>`` element of a file, to stand in a page: no ids that clash, names of marks as tooltips."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"\s*<defs>\s*<style.*?</defs>", "", svg, count=1, flags=re.DOTALL)  # it would style the whole page
    svg = re.sub(r' (?:width|height)="[\d.]+pt"', "", svg, count=2)
    svg = re.sub(r"font-family: [^;\"]*; ", "", svg)
    svg = re.sub(r"\s*<g id=\"[\w.]+\"/>", "", svg)
    svg = re.sub(r"<g id=([\"'])(?:\w+_\d+|matplotlib\.\w+)\1>", "<g>", svg)
    svg = re.sub(r"<g id=([\"'])(.*?)\1>", r"<g><title>\2</title>", svg)
    return svg.replace(_INK, "currentColor").replace(
        "<svg ", f'<svg class="plot" role="img" aria-label="{html.escape(title)}" ', 1
    )
