"""A thread of its own that reads frames, so that decoding waits for nobody and nobody waits for decoding."""

from __future__ import annotations

import threading
import time
from collections import deque
from dataclasses import replace

from .frames import Frame, Source

_AHEAD = 2  # frames read ahead where none is dropped
_GOODBYE = 2.0  # seconds that closing waits for a thread that is stuck in a device or the network


class Feeder:
    """Frames for one consumer: the latest one, or every n-th in turn.

    Parameters
    ----------
    source : Source
        Closed by the thread that reads it.
    every : int
        0: the consumer gets the latest frame, and those that it is too slow for are dropped; a file is read at the
        speed at which it is played. n: every n-th frame, and the source waits for the consumer.
    """

    def __init__(self, source: Source, every: int) -> None:
        self._source, self._every = source, every
        self._change = threading.Condition()
        self._frames: deque[Frame] = deque()
        self._ended, self._stopped = False, False
        self._error: Exception | None = None
        self._thread: threading.Thread | None = None
        self.dropped = 0

    def next(self) -> Frame | None:
        """The next frame, waited for; None after the last one.

        Raises
        ------
        FastconceptError
            What ended the source too early.
        """
        if self._thread is None:
            self._thread = threading.Thread(target=self._read, name="fastconcept-stream", daemon=True)
            self._thread.start()
        with self._change:
            self._change.wait_for(lambda: self._frames or self._ended)
            if self._frames:
                frame = self._frames.popleft()
                self._change.notify_all()
                return frame
            error, self._error = self._error, None
        if error is not None:
            raise error
        return None

    def close(self) -> None:
        """Stop reading; frames that were not asked for are dropped."""
        with self._change:
            self._stopped = self._ended = True
            self._frames.clear()
            self._change.notify_all()
        if self._thread is None:
            self._source.close()
        elif self._thread is not threading.current_thread():
            self._thread.join(_GOODBYE)

    def _read(self) -> None:
        try:
            self._read_all()
        except Exception as error:  # raised where the frames are asked for
            self._error = error
        finally:
            try:
                self._source.close()
            finally:
                with self._change:
                    self._ended = True
                    self._change.notify_all()

    def _read_all(self) -> None:
        began: float | None = None
        for frame in self._source.frames():
            if self._stopped:
                return
            if self._every == 0:
                if self._source.paced:
                    began = frame.arrived - frame.time if began is None else began
                    frame = replace(frame, arrived=began + frame.time)
                    self._wait_until(frame.arrived)
                self._show(frame)
            elif frame.index % self._every == 0:
                self._queue(frame)

    def _wait_until(self, moment: float) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopped, max(0.0, moment - time.perf_counter()))

    def _show(self, frame: Frame) -> None:
        """Put a frame where the consumer finds it, in place of one that it has not taken."""
        with self._change:
            if self._stopped:
                return
            self.dropped += len(self._frames)
            self._frames.clear()
            self._frames.append(frame)
            self._change.notify_all()

    def _queue(self, frame: Frame) -> None:
        with self._change:
            self._change.wait_for(lambda: self._stopped or len(self._frames) < _AHEAD)
            if not self._stopped:
                self._frames.append(frame)
                self._change.notify_all()
