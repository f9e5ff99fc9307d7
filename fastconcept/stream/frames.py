"""Frames, and what they are read from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt

Pixels = npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One frame of a source; its pixels are made when they are needed, for frames that are dropped never.

    Attributes
    ----------
    index : int
        Position in the source, from 0; frames that are dropped count.
    time : float
        Seconds from the first frame, by the source's clock.
    arrived : float
        When it was there, or for a file when it was due, as ``time.perf_counter`` counts.
    load : callable
        Returns (H, W, 3) uint8.
    """

    index: int
    time: float
    arrived: float
    load: Callable[[], Pixels] = field(repr=False)


class Source(Protocol):
    """A source of frames, read by one thread.

    Attributes
    ----------
    every : int
        What to do where the user does not say: 0 for the latest frame, n for every n-th.
    paced : bool
        Whether frames come faster than time passes, as those of a file do, and have to be held back to be live.
    """

    every: int
    paced: bool

    def frames(self) -> Iterator[Frame]:
        """All frames in order."""

    def close(self) -> None:
        """Let go of the file or device."""
