"""Boxes as files give them, checked."""

from __future__ import annotations

import math

from ..errors import InputError
from .items import Box


def read_box(values: object, *, sized: bool = False) -> Box:
    """Four finite numbers that span an area, in pixels: parts of the image's width and height are refused.

    Parameters
    ----------
    values : list or tuple of 4 numbers or strings
        x0, y0, x1, y1 in pixels, ends exclusive.
    sized : bool
        They are x0, y0, width, height instead.

    Raises
    ------
    InputError
        If they are anything else; the message goes on after the name of a row.

    Examples
    --------
    >>> read_box(["1", "2", "3", "4"]), read_box([1, 2, 3, 4], sized=True)
    ((1.0, 2.0, 3.0, 4.0), (1.0, 2.0, 4.0, 6.0))
    """
    try:
        if not isinstance(values, (list, tuple)):
            raise TypeError
        x0, y0, x1, y1 = (float(value) for value in values)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"has a box that is not four numbers: {repr(values)[:60]}") from None
    if sized:
        x1, y1 = x0 + x1, y0 + y1
    if not all(map(math.isfinite, (x0, y0, x1, y1))) or x1 <= x0 or y1 <= y0:
        raise InputError(f"has an empty box: {x0:g} {y0:g} {x1:g} {y1:g}")
    if max(x1, y1) <= 1:
        raise InputError(f"has a box within the first pixel, {x0:g} {y0:g} {x1:g} {y1:g}; give pixels, not parts of 1")
    return x0, y0, x1, y1
