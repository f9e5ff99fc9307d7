"""Reading videos, cameras and network streams with PyAV."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from ..errors import ImageError, InputError, MissingDependencyError
from .frames import Frame, Pixels

if TYPE_CHECKING:
    from av import VideoFrame
    from av.container import InputContainer

# What FFmpeg may open on behalf of each kind of source: a playlist on disk cannot reach into the network.
_NETWORK = "http,https,httpproxy,tcp,tls,udp,rtp,crypto"
_PROTOCOLS = {
    "file": "file",
    "http": _NETWORK,
    "https": _NETWORK,
    "rtmp": "rtmp,tcp",
    "rtsp": "rtsp,rtp,tcp,udp",
    "rtsps": "rtsps,rtp,tcp,tls,udp",
    "srt": "srt,udp",
    "tcp": "tcp",
    "udp": "udp",
}
_LIVE = ("rtmp", "rtsp", "rtsps", "srt", "tcp", "udp")
_TIMEOUT = (10.0, 10.0)  # seconds to open, and to wait for data
_DAMAGED_IN_A_ROW = 100  # packets; then the source is given up
_FIRST_RATE = 25.0  # frames per second of a video that says neither times nor a rate


def package() -> Any:
    """PyAV.

    Raises
    ------
    MissingDependencyError
        If it is not installed.
    """
    try:
        import av
        import av.error
    except ImportError:
        raise MissingDependencyError("av", "video") from None
    return av


def without_password(source: str) -> str:
    """A URL as it may be shown.

    Examples
    --------
    >>> without_password("rtsp://me:secret@camera/1"), without_password("clip.mp4")
    ('rtsp://...@camera/1', 'clip.mp4')
    """
    return re.sub(r"(?<=://)[^/@]*@", "...@", source)


class Video:
    """A video file, a camera of video4linux (``/dev/video0``) or a network stream.

    Parameters
    ----------
    source : str
    max_pixels : int
        Largest frame that is decoded.

    Raises
    ------
    ImageError
        If it cannot be opened, or has no video.
    InputError
        If the URL has a scheme that is not supported.
    MissingDependencyError
        If PyAV is not installed.
    """

    every = 0

    def __init__(self, source: str, max_pixels: int) -> None:
        self.name, self._max_pixels = without_password(source), max_pixels
        self._container, self.paced = self._open(source)
        self._stream = next(iter(self._container.streams.video), None)
        if self._stream is None:
            self.close()
            raise ImageError(f"{self.name} has no video")
        # More threads would hold frames back and take the cores from the encoder.
        self._stream.codec_context.thread_count = 1
        # One for all frames: PyAV would make another for each of them, with threads of its own.
        self._colours = package().video.reformatter.VideoReformatter()
        try:
            self._check_size(self._stream.codec_context)
        except ImageError:
            self.close()
            raise

    def _open(self, source: str) -> tuple[InputContainer, bool]:
        av = package()
        scheme = source.partition("://")[0] if "://" in source else "file"
        if scheme not in _PROTOCOLS:
            known = ", ".join(sorted(set(_PROTOCOLS) - {"file"}))
            raise InputError(f"{self.name}: videos come from files, /dev/videoN, or URLs of {known}")
        options = {"protocol_whitelist": _PROTOCOLS[scheme]}
        chosen: dict[str, Any] = {"timeout": _TIMEOUT}
        if scheme.startswith("rtsp"):
            options["rtsp_transport"] = "tcp"  # UDP loses packets, and pictures fall apart
        if scheme == "file":
            chosen, source = {}, os.path.abspath(source)
            if source.startswith("/dev/video"):
                chosen, options = {"format": "v4l2"}, {}
            elif not os.path.exists(source):
                raise ImageError(f"{self.name}: no such file")
        try:
            opened = av.open(source, options=options, **chosen)
        except (av.error.FFmpegError, OSError, ValueError) as error:
            raise ImageError(f"{self.name} cannot be opened as a video: {_reason(error)}") from None
        return opened, scheme not in _LIVE and "format" not in chosen

    def frames(self) -> Iterator[Frame]:
        """All frames in order; where packets are damaged, those that can be decoded.

        Raises
        ------
        ImageError
            If the source breaks off, or a frame is too large.
        """
        first: float | None = None
        rate = float((self._stream and self._stream.average_rate) or _FIRST_RATE)
        for index, frame in enumerate(self._decoded()):
            self._check_size(frame)
            seconds = index / rate if frame.time is None else float(frame.time)
            first = seconds if first is None else first
            yield Frame(index, max(0.0, seconds - first), time.perf_counter(), partial(_pixels, frame, self._colours))

    def _decoded(self) -> Iterator[VideoFrame]:
        av, damaged = package(), 0
        packets: Iterator[Any] = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
                if packet is None:
                    return
                decoded = packet.decode()
            except av.error.EOFError:
                return
            except av.error.InvalidDataError as error:
                damaged += 1
                if damaged >= _DAMAGED_IN_A_ROW:
                    raise ImageError(f"{self.name} is damaged: {_reason(error)}") from None
                continue
            except (av.error.FFmpegError, OSError) as error:
                raise ImageError(f"{self.name} broke off: {_reason(error)}") from None
            damaged = 0
            yield from decoded

    def _check_size(self, frame: Any) -> None:
        if frame.width * frame.height > self._max_pixels:
            raise ImageError(
                f"{self.name} has frames of {frame.width} x {frame.height} px, more than max_pixels={self._max_pixels}"
            )

    def close(self) -> None:
        """Close the file or device."""
        self._container.close()


def _pixels(frame: VideoFrame, colours: Any) -> Pixels:
    """A decoded frame as (H, W, 3) uint8 RGB, turned as the camera was held."""
    pixels: Any = colours.reformat(frame, format="rgb24").to_ndarray()
    turns = round(getattr(frame, "rotation", 0) / 90) % 4  # counter-clockwise, as NumPy turns
    return np.ascontiguousarray(np.rot90(pixels, turns))


def _reason(error: Exception) -> str:
    """Why PyAV failed; its own text repeats the source, and a URL may hold a password."""
    return getattr(error, "strerror", None) or type(error).__name__
