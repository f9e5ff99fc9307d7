"""Where frames come from: a video, a camera, a network stream, or any iterable of images."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Iterator
from numbers import Real
from typing import Any

import numpy as np

from ..doors import iterable, plain
from ..encoders.decode import is_single_image, load_image
from ..errors import InputError
from .frames import Frame, Source
from .video import Video

_LATEST = 1e18  # seconds


class Images:
    """Images that somebody else makes, alone or in pairs with their time in seconds.

    Parameters
    ----------
    images : iterable of images or of (float, image)
        See :func:`fastconcept.encoders.decode.load_image`.
    max_pixels : int
    """

    every, paced = 1, False

    def __init__(self, images: Iterable[Any], max_pixels: int) -> None:
        self._images, self._max_pixels = images, max_pixels

    def frames(self) -> Iterator[Frame]:
        """The images as they come; without times, seconds are those that pass.

        Raises
        ------
        ImageError
            When a frame's ``load`` is called, if it is no image.
        InputError
            If times do not grow.
        """
        began, last = time.perf_counter(), -np.inf
        for index, item in enumerate(self._images):
            now = time.perf_counter()
            seconds, image = item if _is_pair(item) else (now - began, item)
            if not last <= seconds < _LATEST:
                raise InputError(
                    f"times of frames must be seconds that do not go back, got {seconds!r:.40} after {last}"
                )
            seconds = float(seconds)
            last = seconds
            yield Frame(index, seconds, now, lambda image=image: load_image(image, self._max_pixels))  # type: ignore[misc]

    def close(self) -> None:
        """Nothing to do: the images belong to somebody else."""


def _is_pair(item: object) -> bool:
    return isinstance(item, tuple) and len(item) == 2 and isinstance(plain(item[0]), Real)


def open_source(frames: Any, max_pixels: int) -> Source:
    """The source that a user means: a path, a device or URL for PyAV, or an iterable of images.

    Raises
    ------
    ImageError
        If a video cannot be opened.
    InputError
        If it is neither.
    """
    if isinstance(frames, (str, os.PathLike)):
        if not os.fspath(frames):
            raise InputError("frames must be a video file, a device or a URL, got an empty name")
        return Video(os.fspath(frames), max_pixels)
    if is_single_image(frames):
        raise InputError(
            f"frames must be a video file, a device, a URL, or an iterable of images; got {type(frames).__name__}"
        )
    return Images(iterable("frames", frames), max_pixels)
