"""What a stream returns: one result per frame that is shown, and how it went."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from ..saliency.result import Explanation
from ..sparse.result import Decomposition
from . import overlay

if TYPE_CHECKING:
    from PIL import Image

PERCENTILES = (50, 95, 99)
_REMEMBERED = 100_000  # frames whose latencies are kept; a day's stream does not fill the memory


@dataclass(frozen=True)
class StreamedFrame:
    """One frame of a stream, explained.

    Attributes
    ----------
    index : int
        Position in the source, from 0; frames that were dropped count.
    time : float
        Seconds from the first frame, by the source's clock.
    image : (H, W, 3) uint8
        The frame.
    explanation : Explanation
        Maps, scores and ranks of the concepts.
    words : Decomposition or None
        Words of the whole frame, where they were asked for.
    encoded : int
        Places of the frame that were embedded for it; 0 where the picture did not change and its evidence was kept.
    latency_ms : float
        Milliseconds from when the frame was there until this result was. A frame of a file is there when it is due, or
        when it is taken up where none is dropped.
    age_ms : float
        Age of the oldest evidence in the maps, in milliseconds: by the clock on the wall, or by the frames' times where
        none is dropped. It never exceeds ``max_age_ms``.
    """

    index: int
    time: float
    image: npt.NDArray[np.uint8] = field(repr=False)
    explanation: Explanation
    words: Decomposition | None
    encoded: int
    latency_ms: float
    age_ms: float

    def overlay(self) -> Image.Image:
        """The frame with maps, boxes, names and scores drawn over it; a Pillow image of its size."""
        return overlay.draw(self.image, self.explanation)

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without pixels and maps."""
        words = None if self.words is None else dict(self.words.top())
        return {
            "index": self.index,
            "time": round(self.time, 6),
            "encoded": self.encoded,
            "latency_ms": self.latency_ms,
            "age_ms": self.age_ms,
            "concepts": [concept.to_dict() for concept in self.explanation],
            **({} if words is None else {"words": words}),
        }


@dataclass
class StreamStatistics:
    """How a stream went so far.

    Attributes
    ----------
    shown : int
        Frames that were returned.
    kept : int
        Those among them whose evidence was kept whole, because the picture did not change.
    dropped : int
        Frames that came while others were worked on, and were replaced by later ones.
    stale : int
        Frames that were worked on, but whose maps were older than ``max_age_ms`` in the end; they were not returned.
    seconds : float
        From the first frame that was asked for until the last result, including what was done with results.
    cpu_seconds : float
        Seconds that the threads of the whole process worked in that time.
    largest_age_ms : float
        Of the frames that were returned.
    """

    shown: int = 0
    kept: int = 0
    dropped: int = 0
    stale: int = 0
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    largest_age_ms: float = 0.0
    latencies_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_REMEMBERED), repr=False)

    @property
    def frames_per_second(self) -> float:
        """Frames that were returned per second."""
        return self.shown / self.seconds if self.seconds > 0 else 0.0

    @property
    def latency_ms(self) -> dict[str, float]:
        """``{"p50": ..., "p95": ..., "p99": ...}`` of the frames that were returned; empty without any."""
        if not self.latencies_ms:
            return {}
        values = np.percentile(self.latencies_ms, PERCENTILES).tolist()
        return {f"p{percentile}": value for percentile, value in zip(PERCENTILES, values, strict=True)}

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        counts = {name: getattr(self, name) for name in ("shown", "kept", "dropped", "stale")}
        return {
            **counts,
            "seconds": self.seconds,
            "cpu_seconds": self.cpu_seconds,
            "frames_per_second": self.frames_per_second,
            "latency_ms": self.latency_ms,
            "largest_age_ms": self.largest_age_ms,
        }
