"""Evidence: what the encoder makes of the places of one image. Made once, then read for any number of concepts."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from ..timings import Timings
from .kept import Kept
from .layout import Layout
from .patches import PatchGrid


@dataclass(frozen=True)
class Evidence:
    """The embeddings of an image's places and of the whole image.

    Keep it, and read it again for other concepts without encoding anything: :func:`fastconcept.saliency.reading.read`.

    Attributes
    ----------
    image : (H, W, 3) uint8
        The original.
    layout : Layout
        How the evidence was made.
    grid : PatchGrid
        Where the n places lie.
    rows : (n, d) float32
        Embeddings of the places (by occlusion, of the image without them), unit rows, on the device of the kernels
        that made them.
    whole : (1, d) float32
        Embedding of the whole image, likewise.
    region : (int, int, int, int)
        Part of the original that the grid covers: x0, y0, x1, y1 in pixels.
    timings_ms : Timings
        Milliseconds spent per stage.
    kept : Kept
        What has been worked out from it since.
    """

    image: npt.NDArray[np.uint8] = field(repr=False)
    layout: Layout
    grid: PatchGrid = field(repr=False)
    rows: Any = field(repr=False)
    whole: Any = field(repr=False)
    region: tuple[int, int, int, int]
    timings_ms: Timings = field(default_factory=Timings, repr=False, compare=False)
    kept: Kept = field(default_factory=Kept, repr=False, compare=False)

    def __len__(self) -> int:
        return len(self.grid)

    @property
    def nbytes(self) -> int:
        """Memory in bytes: the image, the embeddings, and what was worked out from them."""
        return int(self.image.nbytes + self.rows.nbytes + self.whole.nbytes + self.kept.nbytes)
