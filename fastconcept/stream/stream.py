"""The loop of a stream: take a frame, renew the evidence where it changed, read it, and let go of what is too old."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any

from ..errors import InputError
from ..kernels.csr import SparseCodes
from ..parts import Parts
from ..saliency.layout import Layout
from ..saliency.reading import Reading, read
from ..saliency.result import Explanation, View
from ..saliency.targets import Target
from ..sparse.decompose import decompose
from ..sparse.result import Decomposition
from ..timings import Timings
from .feeder import Feeder
from .frames import Frame, Pixels
from .kept import KeptEvidence
from .result import StreamedFrame, StreamStatistics
from .smoothing import Smoother
from .sources import open_source

_HOPELESS = 3  # frames that took too long before any was shown: the next would, too


@dataclass(frozen=True)
class Pace:
    """Which frames are explained, and what may be kept from one to the next.

    Attributes
    ----------
    every : int, optional
        0 for the latest frame, n for every n-th; by default 0 for videos and 1 for iterables.
    max_age_ms : float
        Bound on the age of the evidence in a map.
    tolerance : float
        Mean absolute difference of a square of pixels, in levels of 0 to 255, up to which it counts as unchanged.
    smoothing_ms : float
        Time constant of the exponential mean over maps; 0 for none.
    score_age_ms : float
        How old the embedding of the whole picture may be, which scores, ranks and words are about.

    Raises
    ------
    InputError
        If a value is out of range.
    """

    every: int | None = None
    max_age_ms: float = 1000.0
    tolerance: float = 2.0
    smoothing_ms: float = 0.0
    score_age_ms: float = 250.0

    def __post_init__(self) -> None:
        if self.every is not None and not 0 <= self.every <= 1_000_000:
            raise InputError(f"every must be 0 for the latest frame, or n for every n-th; got {self.every!r}")
        if not self.max_age_ms > 0:
            raise InputError(f"max_age_ms must be above 0 milliseconds, got {self.max_age_ms!r}")
        if not 0 <= self.tolerance <= 255:
            raise InputError(f"tolerance must be from 0 to 255 levels, got {self.tolerance!r}")
        if not 0 <= self.smoothing_ms < math.inf:
            raise InputError(f"smoothing_ms must be 0 or more milliseconds, got {self.smoothing_ms!r}")
        if not 0 <= self.score_age_ms < math.inf:
            raise InputError(f"score_age_ms must be 0 or more milliseconds, got {self.score_age_ms!r}")


class Stream(Iterator[StreamedFrame]):
    """Explained frames, one after the other, and how it goes; :meth:`fastconcept.Engine.stream` makes it.

    Iterate over it. It closes its source at the end, when it is closed, and at the end of a ``with`` block.

    Attributes
    ----------
    statistics : StreamStatistics
        Frames shown and dropped, frame rate, latencies, so far.
    """

    def __init__(
        self,
        frames: Any,
        targets: Sequence[Target],
        parts: Parts,
        layout: Layout,
        reading: Reading,
        pace: Pace = Pace(),
        l1_penalty: float | None = None,
    ) -> None:
        self._parts, self._targets, self._reading = parts, targets, reading
        self._pace, self._penalty = pace, l1_penalty
        layout = replace(layout, mode=parts.resolve_mode(layout.mode))
        with parts.place:  # everything is opened before the first frame is, and before the clock runs
            tower, self._bank = parts.image_tower(layout.mode), parts.prepared_bank
            if l1_penalty is not None:
                parts.dictionary.prepared(parts.kernels)
                _ = parts.image_mean
        source = open_source(frames, parts.max_pixels)
        every = source.every if pace.every is None else pace.every
        self._live, self._feeder = every == 0, Feeder(source, every)
        self._kept = KeptEvidence(tower, layout, pace.tolerance, pace.score_age_ms / 1e3)
        self._smoother = Smoother(pace.smoothing_ms / 1e3)
        self._explanation: Explanation | None = None
        self._words: Decomposition | None = None
        self._whole: Any = None  # the row that they are of
        self._codes: SparseCodes | None = None
        self._slow = 0  # frames that took too long
        self._slowest = 0.0  # seconds of the slowest of the latest results that were encoded
        self._began: tuple[float, float] | None = None
        self.statistics = StreamStatistics()

    def __enter__(self) -> Stream:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Stop, and let go of the source."""
        self._feeder.close()

    def __next__(self) -> StreamedFrame:
        if self._began is None:
            self._began = time.perf_counter(), time.process_time()
        try:
            while True:
                frame = self._feeder.next()
                if frame is None:
                    raise StopIteration
                shown = self._explain(frame)
                self._count()
                if shown is not None:
                    return shown
        except BaseException:
            self._count()
            self.close()
            raise

    def _count(self) -> None:
        assert self._began is not None
        self.statistics.seconds = time.perf_counter() - self._began[0]
        self.statistics.cpu_seconds = time.process_time() - self._began[1]
        self.statistics.dropped = self._feeder.dropped

    def _explain(self, frame: Frame) -> StreamedFrame | None:
        """The result of a frame, or None if its evidence is too old by the time it is there."""
        taken, bound = time.perf_counter(), self._pace.max_age_ms / 1e3
        arrived = frame.arrived if self._live else taken
        if taken - arrived > bound:  # after a moment in which the machine stood still
            self.statistics.stale += 1
            return None
        # By the clock on the wall, kept evidence grows older while a frame is worked on.
        now, oldest = (arrived, arrived + self._slowest - bound) if self._live else (frame.time, frame.time - bound)
        timings = Timings()
        with timings.stage("decode"):
            picture = frame.load()
        with self._parts.place:
            step = self._kept.update(picture, now, oldest, timings)
            renewed = step.encoded > 0 or self._explanation is None
            explanation = self._read(step, timings) if renewed else self._again(picture, timings)
        explanation = self._smoother.update(explanation, frame.time)
        finished = time.perf_counter()
        if step.encoded:
            self._slowest = max(finished - arrived, 0.8 * self._slowest)
        age = finished - step.made if self._live else frame.time - step.made
        if age > bound:
            self._note_slow(finished - taken)
            return None
        return self._show(frame, picture, explanation, step.encoded, finished - arrived, age)

    def _read(self, step: Any, timings: Timings) -> Explanation:
        parts = self._parts
        self._explanation = read(
            step.evidence, self._targets, self._bank, self._reading, parts.kernels, parts.num_threads
        )
        if self._penalty is not None and step.evidence.whole is not self._whole:
            with timings.stage("solve"):
                words = decompose(
                    step.evidence.whole,
                    parts.dictionary,
                    parts.image_mean,
                    parts.kernels,
                    l1_penalty=self._penalty,
                    warm_start=self._codes,
                    num_threads=parts.num_threads,
                )
            self._codes, self._words, self._whole = words.codes, words[0], step.evidence.whole
            self._explanation = replace(self._explanation, timings_ms={**self._explanation.timings_ms, **timings})
        return self._explanation

    def _again(self, picture: Pixels, timings: Timings) -> Explanation:
        """The latest maps, laid over a frame that looks the same."""
        assert self._explanation is not None
        concepts = tuple(
            replace(concept, view=View(picture, concept.view.region, concept.view.size))
            for concept in self._explanation
        )
        return replace(self._explanation, concepts=concepts, timings_ms=timings)

    def _note_slow(self, spent: float) -> None:
        self.statistics.stale += 1
        self._slow += 1
        if not self.statistics.shown and self._slow >= _HOPELESS:
            raise InputError(
                f"maps take {spent * 1e3:.0f} ms here, longer than max_age_ms={self._pace.max_age_ms:g} allows; "
                'use mode="windows", a smaller short_side, larger sizes or strides, or a larger max_age_ms'
            )

    def _show(
        self, frame: Frame, picture: Pixels, explanation: Explanation, encoded: int, latency: float, age: float
    ) -> StreamedFrame:
        statistics = self.statistics
        statistics.shown += 1
        statistics.kept += not encoded
        statistics.latencies_ms.append(latency * 1e3)
        statistics.largest_age_ms = max(statistics.largest_age_ms, age * 1e3)
        return StreamedFrame(
            frame.index, frame.time, picture, explanation, self._words, encoded, latency * 1e3, age * 1e3
        )
