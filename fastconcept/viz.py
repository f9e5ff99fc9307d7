"""Drawing with Pillow alone: a map over its image, a bar chart of words, a strip of pictures."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from PIL import Image

# Anchors of a dark-violet to pale-yellow colour map whose lightness rises evenly, so that it also reads in grey.
_ANCHORS = np.array(
    [[8, 5, 30], [60, 15, 110], [125, 30, 110], [190, 55, 85], [235, 105, 50], [250, 170, 35], [250, 250, 170]],
    np.float64,
)
_INK, _PAPER, _BAR, _FAINT = (28, 30, 38), (255, 255, 255), (86, 98, 214), (118, 122, 135)


def colorize(values: npt.NDArray[np.floating[Any]]) -> npt.NDArray[np.uint8]:
    """Colours of a map: (h, w) in [0, 1] to (h, w, 3) uint8, dark for 0 and pale yellow for 1.

    Examples
    --------
    >>> colorize(np.array([[0.0, 1.0]])).tolist()
    [[[8, 5, 30], [250, 250, 170]]]
    """
    positions = np.linspace(0, 1, len(_ANCHORS))
    channels = [np.interp(values, positions, _ANCHORS[:, channel]) for channel in range(3)]
    colours: npt.NDArray[np.uint8] = np.rint(np.stack(channels, axis=-1)).astype(np.uint8)
    return colours


def overlay(
    image: npt.NDArray[np.uint8],
    values: npt.NDArray[np.floating[Any]],
    box: Sequence[float] | None = None,
    opacity: float = 0.85,
) -> Image.Image:
    """Lay a map over its image: salient regions glow, the rest falls back to a dim grey.

    Parameters
    ----------
    image : (H, W, 3) uint8
    values : (H, W) float in [0, 1]
    box : (x0, y0, x1, y1), optional
        Drawn as a frame, in pixels.
    opacity : float
        Of the colours where the map is 1; in [0, 1].

    Returns
    -------
    PIL.Image.Image
        RGB, of the image's size.
    """
    from PIL import Image, ImageDraw

    grey = image.astype(np.float32).mean(axis=2, keepdims=True)
    strength = (opacity * np.clip(values, 0, 1) ** 2)[..., None].astype(np.float32)
    dim = 0.55 * grey + 0.15 * image.astype(np.float32)
    mixed = (1 - strength) * dim + strength * (0.45 * image.astype(np.float32) + 0.55 * colorize(values))
    picture = Image.fromarray(np.clip(np.rint(mixed), 0, 255).astype(np.uint8))
    if box is not None:
        line = max(2, round(min(picture.size) / 120))
        ImageDraw.Draw(picture).rectangle([round(edge) for edge in box], outline=(255, 255, 255), width=line)
    return picture


@lru_cache(maxsize=16)
def font(size: int) -> Any:
    """Pillow's own font at a size in pixels."""
    from PIL import ImageFont

    return ImageFont.load_default(size)


def caption(picture: Image.Image, text: str) -> Image.Image:
    """A picture with a line of text under it; text that is too long ends in an ellipsis."""
    from PIL import Image, ImageDraw

    size = max(12, round(picture.width / 22))
    letters, bar = font(size), round(size * 1.8)
    while len(text) > 2 and letters.getlength(text) > picture.width - size:
        text = text[:-2].rstrip() + "…"
    framed = Image.new("RGB", (picture.width, picture.height + bar), _PAPER)
    framed.paste(picture, (0, 0))
    ImageDraw.Draw(framed).text((picture.width / 2, picture.height + bar / 2), text, _INK, letters, anchor="mm")
    return framed


def strip(pictures: Sequence[Image.Image], gap: int = 12, per_row: int = 4) -> Image.Image:
    """Pictures side by side on white, ``per_row`` in a row."""
    from PIL import Image

    rows = [pictures[start : start + per_row] for start in range(0, len(pictures), per_row)]
    widths = [sum(p.width for p in row) + gap * (len(row) - 1) for row in rows]
    heights = [max(p.height for p in row) for row in rows]
    sheet = Image.new("RGB", (max(widths), sum(heights) + gap * (len(rows) - 1)), _PAPER)
    top = 0
    for row, height in zip(rows, heights, strict=True):
        left = 0
        for picture in row:
            sheet.paste(picture, (left, top))
            left += picture.width + gap
        top += height + gap
    return sheet


def bar_chart(
    words: Sequence[tuple[str, float]], title: str, picture: npt.NDArray[np.uint8] | None = None
) -> Image.Image:
    """Horizontal bars, one per word, longest first, with an optional picture at the left.

    Parameters
    ----------
    words : sequence of (word, weight)
        Weights are not negative.
    title : str
        Printed above the bars.
    picture : (H, W, 3) uint8, optional
        Scaled to the chart's height.

    Returns
    -------
    PIL.Image.Image
    """
    from PIL import Image, ImageDraw

    row, bar_width, margin = 34, 380, 24
    label_width = max([190, *(min(600, round(font(18).getlength(word)) + 14) for word, _ in words)])
    height = margin * 2 + 40 + row * max(1, len(words))
    chart = Image.new("RGB", (margin * 2 + label_width + bar_width + 80, height), _PAPER)
    draw = ImageDraw.Draw(chart)
    draw.text((margin, margin), title, _FAINT, font(17))
    longest = max((weight for _, weight in words), default=1.0) or 1.0
    for index, (word, weight) in enumerate(words):
        middle = margin + 40 + row * index + row / 2
        draw.text((margin + label_width - 12, middle), word, _INK, font(18), anchor="rm")
        left, length = margin + label_width, max(2, round(bar_width * weight / longest))
        draw.rounded_rectangle((left, middle - 10, left + length, middle + 10), 4, _BAR)
        draw.text((left + length + 8, middle), f"{weight:.3f}", _FAINT, font(15), anchor="lm")
    if not words:
        draw.text((margin, margin + 44), "no word at this penalty", _INK, font(18))
    if picture is None:
        return chart
    side = Image.fromarray(picture)
    side = side.resize((max(1, round(side.width * height / side.height)), height), Image.Resampling.LANCZOS)
    return strip([side, chart], gap=0)
