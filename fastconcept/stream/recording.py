"""Writing pictures as a video, with PyAV."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from ..errors import InputError
from ..files import whole_file
from .video import package

if TYPE_CHECKING:
    from PIL import Image

FORMATS = {".mp4": "mp4", ".mov": "mov", ".mkv": "matroska"}
_CODECS = (("libx264", {"preset": "veryfast", "crf": "21", "tune": "zerolatency"}), ("mpeg4", {"qscale": "4"}))
_TICKS = 1000  # of a second: times of frames are kept as they are, whatever the frame rate


def video_format(path: Path) -> str:
    """FFmpeg's name of the format that a file's ending stands for.

    Raises
    ------
    InputError
        If there is none.

    Examples
    --------
    >>> video_format(Path("out.mkv"))
    'matroska'
    """
    if path.suffix.lower() not in FORMATS:
        raise InputError(f"{path}: videos are written as {', '.join(FORMATS)}; got {path.suffix or 'no ending'}")
    return FORMATS[path.suffix.lower()]


class Recording:
    """A video file that is being written: H.264, or MPEG-4 where PyAV was built without it.

    Parameters
    ----------
    stream : binary file
        That can be sought in.
    name : str
        FFmpeg's name of the format.
    """

    def __init__(self, stream: IO[bytes], name: str) -> None:
        self._container: Any = package().open(stream, "w", format=name)
        self._video: Any = None
        self._last = -1

    def add(self, picture: Image.Image, time: float) -> None:
        """Append a picture; the first one decides on the size.

        Parameters
        ----------
        picture : PIL.Image.Image
        time : float
            Seconds from the beginning.
        """
        if self._video is None:
            self._video = self._open(picture.width, picture.height)
        size = (self._video.width, self._video.height)
        if picture.size != size:
            odd = all(0 <= side - even < 2 for side, even in zip(picture.size, size, strict=True))
            picture = picture.crop((0, 0, *size)) if odd else picture.resize(size)
        frame = package().VideoFrame.from_image(picture)
        self._last = max(self._last + 1, round(time * _TICKS))
        frame.pts, frame.time_base = self._last, Fraction(1, _TICKS)
        self._container.mux(self._video.encode(frame))

    def _open(self, width: int, height: int) -> Any:
        av = package()
        name, options = next((codec for codec in _CODECS if _is_there(av, codec[0])), _CODECS[-1])
        video = self._container.add_stream(name, rate=_TICKS, options=options)
        video.width, video.height = max(2, width // 2 * 2), max(2, height // 2 * 2)  # colour is at half size
        video.pix_fmt = "yuv420p"
        video.codec_context.time_base = Fraction(1, _TICKS)
        return video

    def finish(self) -> None:
        """Write what is left, and the file's index."""
        if self._video is not None:
            self._container.mux(self._video.encode(None))
        self._container.close()


def _is_there(av: Any, codec: str) -> bool:
    try:
        av.Codec(codec, "w")
    except Exception:  # one class in one release of PyAV, another in the next
        return False
    return True


@contextmanager
def recording(path: Path) -> Iterator[Recording]:
    """A video that appears under its name when it is complete, or not at all.

    Raises
    ------
    InputError
        If the ending names no format, or the file cannot be written.
    MissingDependencyError
        If PyAV is not installed.
    """
    name = video_format(path)
    package()
    with whole_file(path) as stream:
        opened = Recording(stream, name)
        yield opened
        opened.finish()
