"""Progress of a training run that must be over at a given time, whatever else the machine does meanwhile.

The learning rate is a function of progress in [0, 1]. Each step advances progress by its duration over the
time left, so a run that is paused, slowed or resumed still anneals to zero by its end. The end may be moved while the
run is on: write a Unix time into the file ``deadline`` of its directory (now + 300 means: anneal within five minutes).
"""

from __future__ import annotations

import math
import time
from pathlib import Path


class Schedule:
    """Progress towards a deadline.

    Parameters
    ----------
    folder : Path
        Directory of the file ``deadline``; it is written from `hours` unless it exists and lies ahead.
    hours : float
        Time that the run may take from now.
    progress : float
        Where a resumed run goes on.
    """

    def __init__(self, folder: Path, hours: float, progress: float = 0.0) -> None:
        self._path = folder / "deadline"
        self.progress = progress
        self._last = time.time()
        if not self._path.exists() or float(self._path.read_text()) < self._last:
            self._path.write_text(f"{self._last + 3600 * hours:.0f}\n")

    def advance(self) -> float:
        """Count the time since the last call and return the progress."""
        now = time.time()
        try:
            end = float(self._path.read_text())
        except (OSError, ValueError):
            end = now + 60
        spent, self._last = now - self._last, now
        left = end - now + spent
        self.progress = 1.0 if end <= now else min(1.0, self.progress + (1 - self.progress) * spent / left)
        return self.progress

    def rate(self, peak: float, warmup: float) -> float:
        """Return the learning rate: linear warm-up, then a cosine to zero."""
        if self.progress < warmup:
            return peak * max(self.progress / warmup, 0.01)
        return 0.5 * peak * (1 + math.cos(math.pi * (self.progress - warmup) / (1 - warmup)))
