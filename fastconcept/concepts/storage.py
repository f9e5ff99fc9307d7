"""Safetensors files of concepts and words: bounded reading, byte-for-byte repeatable writing, packed text.

The format is https://huggingface.co/docs/safetensors. Text travels inside it as ``uint8`` tensors: newline-joined
UTF-8, plain or compressed with zlib. No file is trusted: every size is checked against a bound before memory is
allocated for it.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import BundleError, InputError
from ..files import whole_file
from ..kernels.forks import cached_property

Tensors = dict[str, NDArray[np.generic]]

MAX_TEXT_BYTES = 64 << 20
"""Largest block of text accepted after decompression; the noun definitions of WordNet 3.0 take 5 MB."""


def read_tensors(path: str | os.PathLike[str], required: Iterable[str]) -> tuple[Tensors, dict[str, str]]:
    """Read every tensor of a safetensors file, and its metadata.

    Raises
    ------
    BundleError
        If the file is missing, is not safetensors, or lacks one of the ``required`` tensors.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(os.fspath(path), framework="numpy") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
            metadata = dict(file.metadata() or {})
    except OSError as error:
        raise BundleError(f"{path}: cannot be read ({error.strerror or error}); is it the right path?") from error
    except (SafetensorError, TypeError, ValueError, AttributeError) as error:
        raise BundleError(f"{path}: not a readable safetensors file ({error}); write it again") from error
    missing = sorted(set(required) - set(tensors))
    if missing:
        raise BundleError(f"{path}: lacks {', '.join(missing)}; it has {', '.join(sorted(tensors)) or 'no tensors'}")
    return tensors, metadata


def write_tensors(
    path: str | os.PathLike[str], tensors: Mapping[str, NDArray[np.generic]], metadata: Mapping[str, str]
) -> None:
    """Write a safetensors file. Equal content gives equal bytes; a reader sees the old file or the complete new one."""
    from safetensors.numpy import save

    blob = save({name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}, metadata=dict(metadata))
    with whole_file(Path(path)) as stream:
        stream.write(_with_sorted_metadata(blob))


def _with_sorted_metadata(blob: bytes) -> bytes:
    """The same file with its metadata sorted: the safetensors library writes them in random order."""
    length = int.from_bytes(blob[:8], "little")
    header = json.loads(blob[8 : 8 + length])
    header["__metadata__"] = dict(sorted(header.get("__metadata__", {}).items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text = text.ljust(-len(text) % 8 + len(text))  # the format wants the data aligned to 8 bytes
    return len(text).to_bytes(8, "little") + text + blob[8 + length :]


def encode_lines(lines: Sequence[str], what: str) -> NDArray[np.uint8]:
    """Join lines of text into one ``uint8`` tensor.

    Raises
    ------
    InputError
        If a line is empty or holds a line break; ``what`` says which list it is from.
    """
    for line in lines:
        if not line or "\n" in line or "\r" in line:
            raise InputError(f"{what}: {line!r} cannot be stored; give text of one line that is not empty")
    try:
        return np.frombuffer("\n".join(lines).encode(), dtype=np.uint8)
    except UnicodeEncodeError as error:
        raise InputError(f"{what}: {error.object[error.start : error.end]!r} is not valid text") from error


def decode_lines(data: NDArray[np.generic] | bytes, count: int, where: str) -> list[str]:
    """Split text back into lines.

    Raises
    ------
    BundleError
        If the text is not UTF-8, or not exactly ``count`` lines that are not empty; ``where`` says which text it is.
    """
    if isinstance(data, np.ndarray) and (data.dtype != np.uint8 or data.ndim != 1):
        raise BundleError(f"{where}: expected uint8 of shape (n,), not {data.dtype} of shape {data.shape}")
    try:
        text = bytes(data).decode("utf-8")
    except UnicodeDecodeError as error:
        raise BundleError(f"{where}: not UTF-8 text ({error})") from error
    lines = text.split("\n") if text else []
    if len(lines) != count or not all(lines):
        empty = lines.count("")
        raise BundleError(f"{where}: expected {count} lines that are not empty, not {len(lines)} with {empty} empty")
    return lines


class PackedLines:
    """Lines of text that are kept compressed with zlib until they are first needed.

    Parameters
    ----------
    data : (n,) uint8
        One zlib stream.
    size : int
        Length of the text in bytes; the stream must yield exactly that many.
    count : int
        Number of lines.
    where : str
        Name of the text, for errors.

    Raises
    ------
    BundleError
        If ``size`` is not plausible, or, at the first use of :attr:`lines`, if the stream does not hold that text.
    """

    def __init__(self, data: NDArray[np.generic], size: int, count: int, where: str) -> None:
        if not 0 <= size <= MAX_TEXT_BYTES:
            raise BundleError(f"{where}: claims {size} bytes of text; at most {MAX_TEXT_BYTES} are accepted")
        if data.dtype != np.uint8 or data.ndim != 1:
            raise BundleError(f"{where}: expected uint8 of shape (n,), not {data.dtype} of shape {data.shape}")
        self._data, self._size, self._count, self._where = data, size, count, where

    @classmethod
    def pack(cls, lines: Sequence[str], what: str) -> PackedLines:
        """Compress lines of text."""
        text = encode_lines(lines, what).tobytes()
        return cls(np.frombuffer(zlib.compress(text, 9), dtype=np.uint8), len(text), len(lines), what)

    @property
    def data(self) -> NDArray[np.generic]:
        """The zlib stream, (n,) uint8."""
        return self._data

    @property
    def size(self) -> int:
        """Length of the text in bytes."""
        return self._size

    @property
    def count(self) -> int:
        """Number of lines."""
        return self._count

    @cached_property
    def lines(self) -> list[str]:
        """The lines."""
        stream = zlib.decompressobj()
        try:
            text = stream.decompress(self._data.tobytes(), self._size + 1)  # one byte more shows an overlong stream
        except zlib.error as error:
            raise BundleError(f"{self._where}: damaged text ({error})") from error
        if len(text) != self._size or not stream.eof or stream.unused_data:
            raise BundleError(f"{self._where}: the text does not have the {self._size} bytes promised by the file")
        return decode_lines(text, self._count, self._where)
