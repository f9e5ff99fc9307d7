"""Maps that follow the picture calmly: an exponential mean over time."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np

from ..saliency.result import Explanation

_CONSTANT = 1e-6  # a span of maps in [0, 1] that is rounding


class Smoother:
    """The exponential mean of maps over time; frames that come late count for the time that they stand for.

    Parameters
    ----------
    time_constant : float
        Seconds after which a map has lost all but 1/e of its weight; 0 leaves maps as they are.
    """

    def __init__(self, time_constant: float) -> None:
        self._constant, self._last = time_constant, 0.0
        self._mean = np.empty(0)

    def update(self, explanation: Explanation, time: float) -> Explanation:
        """An explanation with smoothed maps, stretched to [0, 1] again.

        Parameters
        ----------
        explanation : Explanation
            Of the next frame.
        time : float
            Its time in seconds.
        """
        if self._constant <= 0:
            return explanation
        cells = np.stack([concept.cells for concept in explanation]).astype(np.float64)
        if self._mean.shape == cells.shape:
            kept = math.exp(-(time - self._last) / self._constant)
            self._mean = kept * self._mean + (1 - kept) * cells
        else:  # the first frame, or one of another size
            self._mean = cells
        self._last = time
        low, high = self._mean.min(axis=(1, 2), keepdims=True), self._mean.max(axis=(1, 2), keepdims=True)
        flat = high - low <= _CONSTANT
        maps = np.where(flat, 1.0, (self._mean - low) / np.where(flat, 1.0, high - low)).astype(np.float32)
        concepts = (
            replace(concept, cells=maps[index], constant=bool(flat[index, 0, 0]))
            for index, concept in enumerate(explanation)
        )
        return replace(explanation, concepts=tuple(concepts))
