"""Several concepts drawn over one frame: each in a colour of its own, with its name and score."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from ..saliency.result import ConceptMap, Explanation
from ..viz import font

if TYPE_CHECKING:
    from PIL import Image

Colour = tuple[int, int, int]

# Okabe and Ito's colours, which differ for colour-blind people, too; after the last one they begin again.
COLOURS = ((230, 159, 0), (86, 180, 233), (0, 158, 115), (240, 228, 66), (213, 94, 0), (204, 121, 167), (0, 114, 178))
_ABSENT = (150, 150, 150)
_OPACITY = 0.6
_PRESENT = 0.9  # score from which a concept is drawn; below, it is only listed
_STRENGTH = [round(255 * _OPACITY * max(0.0, (level / 255 - 0.4) / 0.6) ** 1.5) for level in range(256)]


def draw(picture: npt.NDArray[np.uint8], explanation: Explanation) -> Image.Image:
    """A frame with the maps of its concepts, their boxes, and a list of their names and scores.

    Concepts that fit the frame worse than a tenth of the bank are listed in grey and not drawn: a map always has a
    brightest spot, whether the concept is there or not.

    Parameters
    ----------
    picture : (H, W, 3) uint8
    explanation : Explanation

    Returns
    -------
    PIL.Image.Image
        RGB, of the frame's size.
    """
    from PIL import Image, ImageDraw

    image = Image.fromarray(picture)
    lines: list[tuple[str, Colour]] = []
    shown: list[tuple[ConceptMap, Colour]] = []
    for index, concept in enumerate(explanation):
        there = concept.score >= _PRESENT and not concept.constant
        colour = COLOURS[index % len(COLOURS)] if there else _ABSENT
        lines.append((f"{concept.concept}  {concept.score:.3f}", colour))
        if there:
            shown.append((concept, colour))
            _glow(image, concept, colour)
    canvas = ImageDraw.Draw(image)
    line = max(2, round(min(image.size) / 160))
    for concept, colour in shown:
        canvas.rectangle([round(edge) for edge in concept.box()], outline=colour, width=line)
    _list(image, lines)
    return image


def _glow(image: Image.Image, concept: ConceptMap, colour: Colour) -> None:
    """Tint the part of an image where a map is bright."""
    from PIL import Image

    x0, y0, x1, y1 = concept.view.region
    strength = Image.fromarray(np.rint(concept.cells * 255).astype(np.uint8))
    strength = strength.resize((x1 - x0, y1 - y0), Image.Resampling.BILINEAR).point(_STRENGTH)
    bright = strength.getbbox()
    if bright is not None:
        strength = strength.crop(bright)
        # Pillow pastes a picture of one colour twice as fast as the colour itself.
        image.paste(Image.new("RGB", strength.size, colour), (x0 + bright[0], y0 + bright[1]), strength)


def _list(image: Image.Image, lines: list[tuple[str, Colour]]) -> None:
    """Lines of text on a dark plate in the upper left corner; those that do not fit are left out."""
    from PIL import Image, ImageDraw

    size = max(11, round(min(image.size) / 24))
    letters, step, edge = font(size), round(size * 1.5), round(size * 0.5)
    lines = lines[: max(1, (image.height - edge) // step)]
    width = min(image.width, round(max(letters.getlength(text) for text, _ in lines)) + 2 * edge + size)
    plate = Image.new("RGB", (width, step * len(lines) + edge), (18, 20, 26))
    draw = ImageDraw.Draw(plate)
    for row, (text, colour) in enumerate(lines):
        middle = edge / 2 + step * (row + 0.5)
        draw.rectangle((edge, middle - size * 0.3, edge + size * 0.6, middle + size * 0.3), fill=colour)
        draw.text((edge + size, middle), text, (240, 240, 240), font=letters, anchor="lm")
    corner = (0, 0, plate.width, plate.height)
    image.paste(Image.blend(image.crop(corner), plate, 0.75), corner)
