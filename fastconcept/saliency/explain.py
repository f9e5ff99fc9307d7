"""ConVis in one call: embed overlapping patches, rank the concepts at each, average over patches into maps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import numpy.typing as npt

from ..encoders.image_tower import ImageTower
from ..timings import Timings
from .crops import embed_crops
from .dense import embed_dense
from .evidence import Evidence
from .layout import Layout
from .occlusion import embed_occlusion
from .reading import Reading, read
from .result import Explanation
from .targets import Target
from .windows import embed_windows

MAKERS: dict[str, Callable[..., Evidence]] = {
    "crops": embed_crops,
    "windows": embed_windows,
    "occlusion": embed_occlusion,
    "dense": embed_dense,
}


def embed(
    image: npt.NDArray[np.uint8],
    tower: ImageTower,
    layout: Layout,
    timings: Timings | None = None,
    **remember: Any,
) -> Evidence:
    """Evidence of an image by the maker that the layout's ``mode`` names; see :func:`.crops.embed_crops`.

    The evidence says the mode by its full name, which the tower knows.
    """
    layout = replace(layout, mode=tower.mode or layout.mode)
    return MAKERS[layout.maker](image, tower, layout, timings, **remember)


def explain(
    image: npt.NDArray[np.uint8],
    targets: Sequence[Target],
    bank: Any,
    tower: ImageTower,
    layout: Layout = Layout(),
    reading: Reading = Reading(),
    timings: Timings | None = None,
) -> Explanation:
    """Saliency maps of any number of concepts on one image, in one pass over its patches.

    Parameters
    ----------
    image : (H, W, 3) uint8
        The decoded original, RGB.
    targets : sequence of Target
        What to look for; not empty.
    bank : (N, d) float32, or what ``kernels.prepare_bank`` makes of it
        Unit rows of the concepts that ranks count over.
    tower : ImageTower
    layout : Layout
        Which places are embedded.
    reading : Reading
        How they are read.
    timings : Timings, optional
        Stages timed so far; the result has them and its own.

    Returns
    -------
    Explanation
    """
    evidence = embed(image, tower, layout, timings)
    return read(evidence, targets, bank, reading, tower.kernels, tower.num_threads)
